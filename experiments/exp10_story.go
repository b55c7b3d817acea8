package experiments

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// asked is one request and its answer, as a result shows them.
type asked struct {
	halves []result.Packet // the client's segments
	acks   []result.Packet // of the server's that carry nothing
	answer *result.Packet
}

// took is the time from the first segment to the answer's arrival.
func (a asked) took() time.Duration {
	if a.answer == nil || len(a.halves) == 0 {
		return 0
	}
	at := a.answer.At()
	if a.answer.ArrivedAt != nil {
		at = a.answer.ArrivedAt.Duration()
	}
	return at - a.halves[0].At()
}

// waited is the longest time that the server kept an acknowledgement of this request's.
func (a asked) waited() (time.Duration, *result.Packet) {
	var most time.Duration
	var which *result.Packet
	for i := range a.acks {
		for _, h := range a.halves {
			if d := a.acks[i].At() - reached(h); h.RelSeq+uint32(h.Len) == a.acks[i].RelAck && d > most {
				most, which = d, &a.acks[i]
			}
		}
	}
	return most, which
}

// reached is when a packet was at its receiver's link, where that was seen.
func reached(p result.Packet) time.Duration {
	if p.ArrivedAt != nil {
		return p.ArrivedAt.Duration()
	}
	return p.At()
}

// ackKept is how long an acknowledgement may take and still count as sent at once: well below a delayed one, which takes at least 16 ms.
const ackKept = 10 * time.Millisecond

func findRounds(r *result.Result) []asked {
	var out []asked
	for i := range r.Packets {
		p := r.Packets[i]
		last := len(out) - 1
		switch {
		case p.From == "client" && p.Len > 0 && timeline.What(p.What).Again(): // it was there before
		case p.From == "client" && p.Len > 0:
			if last < 0 || out[last].answer != nil {
				out = append(out, asked{})
				last++
			}
			out[last].halves = append(out[last].halves, p)
		case last < 0:
		case p.From == "server" && p.Len > 0:
			out[last].answer = &p
		case p.From == "server" && p.What == string(timeline.ACK):
			out[last].acks = append(out[last].acks, p)
		}
	}
	return out
}

// checksOfDelayedACK are about what the schedule does not say: in how many rounds an acknowledgement was kept back, that the kernel counted as
// many, and how the request was cut into segments.
func checksOfDelayedACK(e Env, r *result.Result) []result.Check {
	rounds := findRounds(r)
	kept, read := 0, 0
	var segments []string
	for _, a := range rounds {
		switch d, ack := a.waited(); {
		case d <= ackKept:
		case e.Options["writes"] == "nodelay" && a.whole(*ack):
			read++ // the program's read lets it go, or the timer where that comes so late: how late it is, the schedule judges
		default:
			kept++
		}
		segments = append(segments, strconv.Itoa(len(a.halves)))
	}
	least, most := roundsKept(e)
	of := roundsOf(e.Options)
	checks := []result.Check{
		{ID: "rounds-waited", Name: "rounds that waited for an ACK", Expected: fmt.Sprintf("%d of %d", least, of), Observed: fmt.Sprintf("%d of %d", kept, len(rounds)), Verdict: result.Pass},
		delayedCounter(r, kept, kept+read, rounds),
		segmentsCheck(e.Options["writes"], segments),
	}
	c := &checks[0]
	if most > least {
		c.Expected = fmt.Sprintf("%d to %d of %d", least, most, of)
	}
	if kept < least || kept > most || len(rounds) != of {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongWait, "the server acknowledged sooner or later than the rule says"
		if kept > most && stalledIn(r, rounds) {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled during a round"
		}
	}
	doubt, stalled := doubtful(r), leftOpen(r, func(code string) bool { return code == explain.Stall })
	for i := range checks {
		switch c := &checks[i]; {
		case c.Verdict == result.Fail && doubt:
			c.Verdict, c.Detail = result.Inconclusive, "packets may be missing from the captures"
		case c.Verdict == result.Fail && stalled:
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled when packets of this were due: a round in which both ends were late can go another way"
		}
	}
	return checks
}

// whole reports whether an acknowledgement is of the whole request.
func (a asked) whole(ack result.Packet) bool {
	last := a.halves[len(a.halves)-1]
	return ack.RelAck >= last.RelSeq+uint32(last.Len)
}

// roundsKept is in how many rounds an acknowledgement is kept back: more than one number where the program answered when its timer was due.
func roundsKept(e Env) (least, most int) {
	t, err := predictDelayedACK(e)
	if err != nil {
		return 0, 0
	}
	first := true
	for one := range t.All() {
		n := 0
		for _, ev := range one.Events {
			if strings.HasPrefix(ev.Chain, "delayed ACK") {
				n++
			}
		}
		if first {
			least, most, first = n, n, false
		}
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// stalledIn reports whether the machine stood still in a round for so long that an acknowledgement that came late looks kept back.
func stalledIn(r *result.Result, rounds []asked) bool {
	for _, s := range r.Stalls {
		for _, a := range rounds {
			began := a.halves[0].At()
			if s.For.Duration() >= ackKept/2 && s.At.Duration() <= began+a.took() && s.At.Duration()+s.For.Duration() >= began {
				return true
			}
		}
	}
	return false
}

// delayedCounter holds the kernel's own count of delayed acknowledgements against the captures, which show so many, and up to most.
func delayedCounter(r *result.Result, kept, most int, rounds []asked) result.Check {
	c := result.Check{ID: "delayed-counted", Name: "delayed ACKs counted", Expected: strconv.Itoa(kept), Verdict: result.Pass}
	if r.Evidence == nil {
		c.Observed, c.Verdict, c.Detail = "not visible", result.Skip, "the kernel's counters were not read"
		return c
	}
	got := r.Evidence.Added("server", "TcpExtDelayedACKs")
	c.Observed = strconv.FormatUint(got, 10)
	if got < uint64(kept) || got > uint64(most) {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.EvidenceDisagrees, "TcpExtDelayedACKs grew by another number than there are delayed ACKs in the captures"
		if got < uint64(kept) && stalledIn(r, rounds) {
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled during a round"
		}
	}
	return c
}

// segmentsCheck holds the segments of each request against the way in which it was written.
func segmentsCheck(writes string, segments []string) result.Check {
	want := "2"
	if writes == "one" || writes == "cork" || writes == "forgotten-cork" {
		want = "1"
	}
	c := result.Check{ID: "request-segments", Name: "segments of a request", Expected: want, Observed: want, Verdict: result.Pass}
	for _, n := range segments {
		if n != want {
			c.Observed, c.Verdict, c.Code, c.Detail = strings.Join(segments, ", "), result.Fail, explain.UnexpectedPacket, "a request was cut in another way"
		}
	}
	if len(segments) == 0 {
		c.Observed, c.Verdict, c.Detail = "none", result.Skip, "no request was captured"
	}
	return c
}

// storyOfDelayedACK tells which round took how long, and who waited for whom.
func storyOfDelayedACK(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	rounds := findRounds(r)
	if len(rounds) == 0 {
		say(nil, "The client wrote nothing that a capture shows.")
		return story
	}
	var took []string
	var slow, cut []asked
	for _, a := range rounds {
		took = append(took, tenths(a.took()))
		if d, _ := a.waited(); d > ackKept {
			slow = append(slow, a)
		} else {
			cut = append(cut, a)
		}
	}
	say(nil, "The client asked %s. From the first byte of a request to its answer it took %s.", times(len(rounds)), strings.Join(took, ", "))
	if len(slow) > 0 {
		tellWait(slow[0], say)
		say(nil, "So it was in %d of %d rounds. Each end kept a rule that saves packets, and together they did nothing for that long.", len(slow), len(rounds))
	}
	if len(slow) > 0 && len(cut) > 0 && len(cut[0].acks) > 0 {
		say([]int{cut[0].acks[0].ID}, "Where no round had to wait, the acknowledgement came at once: a server that has not been answering yet, or no more, does not keep it back.")
	}
	if len(slow) == 0 && len(rounds[0].halves) == 1 {
		say(ids(rounds[0].halves), "A request was one segment: there was no second one that could wait.")
	}
	if len(slow) == 0 && len(rounds[0].halves) > 1 {
		say(ids(rounds[len(rounds)-1].halves), "No half of a request had to wait for an acknowledgement.")
	}
	return story
}

// tellWait tells of one round in which both ends waited.
func tellWait(a asked, say func([]int, string, ...any)) {
	d, ack := a.waited()
	if len(a.halves) > 1 {
		say([]int{a.halves[0].ID, ack.ID, a.halves[1].ID}, "The client's kernel sent the first half and kept the second, because a small segment was not acknowledged yet (Nagle's algorithm). The server's kernel kept the acknowledgement, "+
			"because its program had been answering and an answer could carry it. Its program could not answer half a request. After %s the timer of the delayed ACK ended that.", tenths(d))
		return
	}
	say([]int{a.halves[0].ID, ack.ID}, "The server's program took so long to answer that its kernel acknowledged before, after %s.", tenths(d))
}

// tenths is a time to a tenth of a millisecond.
func tenths(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// handOfDelayedACK is a client and a server of a few lines each.
func handOfDelayedACK(p Plan) []string {
	const port = httpPort + 10 // the other one belongs to http.server
	server, family := p.byHand().server.Addr(), ""
	if p.Options.IPv6() {
		family = ", family=socket.AF_INET6"
	}
	once, always := "", ""
	switch p.Options["quickack"] {
	case "once":
		once = "c.setsockopt(6, socket.TCP_QUICKACK, 1); "
	case "always":
		once = "c.setsockopt(6, socket.TCP_QUICKACK, 1); "
		always = "; c.setsockopt(6, socket.TCP_QUICKACK, 1)"
	}
	half := fmt.Sprintf("s.send(bytes(%d))", halfRequest)
	open, write := "", half+"; "+half
	switch p.Options["writes"] {
	case "nodelay":
		open = "s.setsockopt(6, socket.TCP_NODELAY, 1)"
	case "cork":
		write = "s.setsockopt(6, socket.TCP_CORK, 1); " + write + "; s.setsockopt(6, socket.TCP_CORK, 0)"
	case "forgotten-cork":
		open = "s.setsockopt(6, socket.TCP_CORK, 1)"
	case "one":
		write = fmt.Sprintf("s.send(bytes(%d))", 2*halfRequest)
	}
	return []string{
		fmt.Sprintf(`ip netns exec server python3 -c 'import socket; c = socket.create_server(("%s", %d)%s).accept()[0]
%swhile c.recv(%d, socket.MSG_WAITALL): c.send(bytes(%d))%s' &`, server, port, family, line(once), 2*halfRequest, 2*halfRequest, always),
		"sleep 1 # until it listens",
		fmt.Sprintf(`ip netns exec client python3 -c 'import socket, time; s = socket.create_connection(("%s", %d))
%sfor i in range(%d): time.sleep(%g); began = time.monotonic(); %s; s.recv(%d, socket.MSG_WAITALL); print("%%.1f ms" %% ((time.monotonic() - began) * 1000))'`,
			server, port, line(open), roundsOf(p.Options), p.Options.Duration("pace").Seconds(), write, 2*halfRequest),
		"ip netns exec server nstat -az TcpExtDelayedACKs",
		"wait %4",
	}
}

// line is a line of its own, where there is something to write.
func line(s string) string {
	if s = strings.TrimSuffix(s, "; "); s == "" {
		return ""
	}
	return s + "\n"
}
