package experiments

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
	"github.com/tcplab/tcplab/lab"
)

// closedWindow is what a result shows of a window that closed.
type closedWindow struct {
	data     []result.Packet // segments of the client
	closed   *result.Packet  // the acknowledgement that closed it
	probes   []result.Packet
	answers  []result.Packet
	late     []result.Packet // to probes that came when the window was open
	opened   *result.Packet  // the update that opened it
	resets   []int
	finished bool // the client's FIN was acknowledged
}

func findClosedWindow(r *result.Result) closedWindow {
	var w closedWindow
	for i := range r.Packets {
		p := r.Packets[i]
		what := timeline.What(p.What)
		switch {
		case p.From == "client" && p.Len > 0:
			w.data = append(w.data, p)
		case what == timeline.WindowProbe:
			w.probes = append(w.probes, p)
		case what == timeline.WindowProbeACK:
			w.answers = append(w.answers, p)
		case what == timeline.KeepaliveACK:
			w.late = append(w.late, p)
		case what == timeline.WindowUpdate && w.opened == nil && p.Window > 0:
			w.opened = &p
		case what == timeline.ACK && p.From == "server" && w.closed == nil && p.Window == 0:
			w.closed = &p
		case what == timeline.RST:
			w.resets = append(w.resets, p.ID)
		case what == timeline.FIN && p.From == "server":
			w.finished = true
		}
	}
	return w
}

// checksOfZeroWindow are about what the schedule does not say: that the window is closed and open when it should be, and that the kernel
// itself calls the timer and the packets by their names.
func checksOfZeroWindow(e Env, r *result.Result) []result.Check {
	w := findClosedWindow(r)
	checks := []result.Check{windowCheck(w), probeTimer(r, w), probeCounter(r, w)}
	if lostPackets(r) > 0 {
		for i := range checks {
			if checks[i].Verdict == result.Fail {
				checks[i].Verdict, checks[i].Code, checks[i].Detail = result.Inconclusive, explain.CaptureDrops, "the capture lost packets"
			}
		}
	}
	return checks
}

// windowCheck holds the window that the server offers against what its program does: 0 until it reads, and then one segment.
func windowCheck(w closedWindow) result.Check {
	c := result.Check{ID: "window", Name: "window while nobody reads", Expected: "0", Observed: "0", Verdict: result.Pass}
	if w.closed == nil {
		c.Observed, c.Verdict, c.Code, c.Detail = "open", result.Fail, explain.WrongWindow, "no acknowledgement has a window of 0"
		return c
	}
	for _, p := range w.answers {
		if p.Window != 0 {
			c.Observed, c.Verdict, c.Code = strconv.Itoa(p.Window), result.Fail, explain.WrongWindow
			c.Detail = fmt.Sprintf("packet %d answers a probe with another window", p.ID)
			return c
		}
	}
	if w.opened != nil {
		c.Expected, c.Observed = fmt.Sprintf("0, then %d", closingSize), fmt.Sprintf("0, then %d", w.opened.Window)
		if w.opened.Window != closingSize {
			c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongWindow, "the window opened by another size than the segment that was read"
		}
	}
	return c
}

// probeTimer holds what inet_diag says of the client's timer against the packets: with nothing in flight it is the persist timer, not that
// of retransmissions.
func probeTimer(r *result.Result, w closedWindow) result.Check {
	c := result.Check{ID: "persist-timer", Name: "timer by the kernel's own account", Expected: "probe", Verdict: result.Pass}
	if w.closed == nil {
		c.Verdict, c.Observed, c.Detail = result.Skip, "none", "the window did not close"
		return c
	}
	until := time.Duration(1 << 62)
	if w.opened != nil {
		until = w.opened.At()
	} else if o := r.Outcome; o != nil && o.Seen != nil {
		until = o.Seen.Duration()
	}
	const settled = 5 * time.Millisecond // a packet is stamped before the kernel has dealt with it
	closed := reached(*w.closed)
	// While the timer fires, none is armed (tcp_write_timer_handler): a processor that is taken away just then shows it to another one.
	fires := func(from, to time.Duration) bool {
		return slices.ContainsFunc(w.probes, func(p result.Packet) bool { return p.At() <= to && p.At()+settled >= from })
	}
	for _, s := range r.Samples {
		from, at := s.At.Duration()-s.Took.Duration(), s.At.Duration()
		if s.Host != "client" || s.State != "ESTABLISHED" || at < closed || at > until-settled {
			continue
		}
		if s.Timer != "probe" && from >= closed+settled && !fires(from, at) {
			c.Observed, c.Verdict, c.Code = s.Timer, result.Fail, explain.WrongWindow
			if c.Observed == "" {
				c.Observed = "none"
			}
			c.Detail = fmt.Sprintf("at %s another timer was armed", seconds(at))
			return c
		}
		if s.Timer == "probe" {
			c.Observed = s.Timer
		}
	}
	if c.Observed == "" {
		c.Observed, c.Verdict, c.Code, c.Detail = "not seen", result.Inconclusive, explain.StatesUnseen, "no look fell into the time of the closed window"
	}
	return c
}

// probeCounter holds the kernel's own count of window probes against the captures. A connection that lives on goes on to ask while the counter is
// read and the captures end.
func probeCounter(r *result.Result, w closedWindow) result.Check {
	least, most := len(w.probes), len(w.probes)
	if o := r.Outcome; o != nil && o.Seen != nil && o.What == string(timeline.Quiet) {
		least = 0
		for _, p := range w.probes {
			if p.At() <= o.Seen.Duration() {
				least++
			}
		}
	}
	c := result.Check{ID: "probes-counted", Name: "window probes counted", Expected: strconv.Itoa(least), Verdict: result.Pass}
	if most > least {
		c.Expected = fmt.Sprintf("%d to %d", least, most)
	}
	if r.Evidence == nil {
		c.Observed, c.Verdict, c.Detail = "not visible", result.Skip, "the kernel's counters were not read"
		return c
	}
	got := r.Evidence.Added("client", "TcpExtTCPWinProbe")
	c.Observed = strconv.FormatUint(got, 10)
	if got < uint64(least) || got > uint64(most) {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.EvidenceDisagrees, "TcpExtTCPWinProbe grew by another number than there are probes in the captures"
	}
	return c
}

// storyOfZeroWindow tells who asked whom, and what came of it, from the packets.
func storyOfZeroWindow(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	w := findClosedWindow(r)
	switch {
	case len(w.data) == 0:
		say(nil, "The client wrote nothing that a capture shows.")
		return story
	case w.closed == nil:
		say(ids(w.data), "The client wrote, and the window did not close.")
		return story
	}
	say([]int{w.data[0].ID, w.closed.ID}, "The client wrote two segments of %d bytes. The first one filled the server's buffer: the acknowledgement says that it came, and that nothing more may be sent (window 0).", w.data[0].Len)
	if len(w.probes) > 0 {
		tellProbes(w, say)
	}
	if w.opened != nil && len(w.resets) == 0 {
		say([]int{w.opened.ID}, "At %s the server's program read. Its kernel told of the open window by itself (%d bytes), without waiting for the next probe.", seconds(w.opened.At()), w.opened.Window)
	}
	endOfZeroWindow(r, w, say)
	return story
}

func ids(packets []result.Packet) []int {
	var out []int
	for _, p := range packets {
		out = append(out, p.ID)
	}
	return out
}

// tellProbes tells of the probes and their answers.
func tellProbes(w closedWindow, say func([]int, string, ...any)) {
	first := w.probes[0].At() - reached(*w.closed)
	if len(w.probes) == 1 {
		say(ids(w.probes), "That acknowledgement is the last that the server has a reason to send, and the next one could be lost. So the client's kernel asked by itself, once, %s later: with an empty packet whose number lies before the window.", seconds(first))
	} else {
		last := w.probes[len(w.probes)-1].At() - w.probes[len(w.probes)-2].At()
		say(ids(w.probes), "That acknowledgement is the last that the server has a reason to send, and the next one could be lost. So the client's kernel asked by itself, %d times, first %s later and at last %s apart: with empty packets whose number lies before the window.",
			len(w.probes), seconds(first), seconds(last))
	}
	dropped := slices.DeleteFunc(slices.Clone(w.probes), func(p result.Packet) bool { return p.Fate != result.Dropped })
	switch n := len(w.probes) - len(w.answers) - len(w.late); {
	case len(dropped) == len(w.probes):
		say(ids(dropped), "Every one of them reached the server's link, where its capture saw it, and died in the server's INPUT chain.")
	case n == 0 && len(w.late) > 0:
		say(ids(append(w.answers, w.late...)), "The server's kernel answered each of them at once: window 0, and the last one, which came when the program had read, with the window open.")
	case n == 0:
		say(ids(w.answers), "The server's kernel answered each of them at once: window 0. Its program did not notice.")
	case len(w.answers) > 0:
		say(ids(w.answers), "The server's kernel answered %d of them at once, with window 0, and left out %d: it answers numbers outside its window no more often than tcp_invalid_ratelimit allows. Its program did not notice.", len(w.answers), n)
	}
}

// endOfZeroWindow tells what became of the connection.
func endOfZeroWindow(r *result.Result, w closedWindow, say func([]int, string, ...any)) {
	o := r.Outcome
	if o == nil || o.Seen == nil {
		say(nil, "When the run ended, the program still waited and had heard of no error.")
		return
	}
	at := seconds(o.Seen.Duration())
	switch {
	case o.SeenErr != "" && len(w.answers) > 0:
		say(nil, "At %s the client's read() returned %s, though the server was there and answered: TCP_USER_TIMEOUT asks for progress, and an open connection that cannot send makes none.", at, o.SeenErr)
	case o.SeenErr != "":
		say(nil, "At %s the client's read() returned %s: too many probes were left without an answer. Nothing is sent at the end.", at, o.SeenErr)
	case o.What == string(timeline.EndOfStream) && len(w.data) > 1:
		say(ids(w.data[1:]), "The segment that had waited went at once, and at %s both ends closed the connection as if nothing had been.", at)
	case o.What == string(timeline.Quiet):
		say(nil, "At %s the connection was as before: as long as the probes are answered they go on, with no end.", at)
	}
	switch {
	case o.SeenErr != "" && len(w.resets) > 0 && w.opened == nil:
		say(w.resets, "The answer to the last probe was still on its way. It found no connection any more and got a reset, which ended the server's end as well.")
	case o.SeenErr != "" && len(w.resets) > 0:
		say(w.resets, "When the server's program read at last, its kernel told of the open window, and got a reset: there was no connection any more.")
	case o.SeenErr != "" && lastState(r, "server") == "ESTABLISHED":
		say(nil, "The server, to whom nothing came, still has the connection as ESTABLISHED. Without keepalive of its own it will keep it for ever.")
	}
}

// handOfZeroWindow is a server that does not read and a client that writes, of a few lines each.
func handOfZeroWindow(p Plan) []string {
	const port = httpPort + 10 // the other one belongs to http.server
	hand := p.byHand()
	server, client := hand.server.Addr(), hand.client.Addr()
	wait, more, end := "time.sleep(86400)", "", "kill %4"
	if d := drains(p.Options); d > 0 {
		wait, more, end = fmt.Sprintf("time.sleep(%g)", p.Options.sinceAccept(d).Seconds()), "; print(len(c.recv(4096))); print(len(c.recv(4096))); c.recv(1)", "wait %4"
	}
	set, read := "", "print(s.recv(1))"
	if ms := p.Options["user-timeout"]; ms != "" {
		set = "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, " + ms + "); "
	}
	switch d := drains(p.Options); {
	case d > 0 && set == "":
		read = fmt.Sprintf("time.sleep(%g); s.close()", (d - closingWrite(p.Options) + afterDrain + 2*p.Options.rtt()).Seconds())
	case p.Options["peer"] != "gone" && set == "":
		watch := p.Options.Duration("watch")
		if watch == 0 {
			watch = time.Minute
		}
		read = fmt.Sprintf("time.sleep(%g); os.system(\"ip netns exec client ss -tno\")", (watch - closingWrite(p.Options)).Seconds())
	}
	lines := []string{
		"ip netns exec server " + hand.route(hand.server) + fmt.Sprintf(" initrwnd 1 advmss %d", closingSize+timestampBytes),
		fmt.Sprintf(`ip netns exec server python3 -c 'import socket, time; l = %s; l.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, %d); l.bind(("%s", %d)); l.listen(); c = l.accept()[0]; %s%s' &`,
			hand.socket, smallestBuffer, server, port, wait, more),
		"sleep 1 # until it listens",
	}
	cut := ""
	if p.Options["peer"] == "gone" {
		cut = waitByHand(p.Options) + fmt.Sprintf(`os.system("ip netns exec server %s -A INPUT -s %s -p tcp --tcp-flags SYN,ACK ACK -m length --length 0:%d -j DROP"); `, hand.iptables, client, hand.length(lab.DataLength-1))
	}
	return append(lines,
		fmt.Sprintf(`ip netns exec client python3 -c 'import os, socket, time; s = %s; %ss.connect(("%s", %d)); %stime.sleep(%g); s.send(bytes(%d)); %s'`,
			hand.socket, set, server, port, cut, closingWrite(p.Options).Seconds(), 2*closingSize, read),
		"ip netns exec server ss -tn # what the server believes",
		end,
	)
}
