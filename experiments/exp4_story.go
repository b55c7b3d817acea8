package experiments

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// rivalsOfKeepalive are the usual reasons for another schedule: other knobs, the defaults, a program that set its own, exact timers.
func rivalsOfKeepalive(e Env) []Rival {
	var rivals []Rival
	var same []string // flags that hold a rival to the time for which this run watched
	if k, err := keepaliveInput(e); err == nil && k.Until != 0 && e.Options["watch"] == "" {
		watch := max(k.Until, k.Close).Round(time.Millisecond).String()
		same = []string{"--watch=" + watch}
		e = option(e, "watch", watch)
	}
	knob := func(flag, name string, values ...string) {
		now := e.Sysctls["client.net.ipv4."+name]
		for _, v := range values {
			if v != now {
				rivals = append(rivals, Rival{Code: explain.Keepalive, Text: fmt.Sprintf("the kernel behaves as if %s were %s (it is set to %s)", name, v, now),
					Flags: append([]string{"--" + flag + "=" + v}, same...), Env: e.With("client", "net.ipv4."+name, v)})
			}
		}
	}
	if e.Options["no-keepalive"] != "yes" {
		if e.Options["keepidle"] == "" {
			knob("keepalive-time", "tcp_keepalive_time", "1", "2", "3", "4", "5", "10", "15", "60", "7200")
		}
		if e.Options["keepintvl"] == "" {
			knob("keepalive-intvl", "tcp_keepalive_intvl", "1", "2", "3", "4", "5", "10", "15", "75")
		}
		if e.Options["keepcnt"] == "" && e.Options["user-timeout"] == "" && e.Options["peer"] != "alive" {
			knob("keepalive-probes", "tcp_keepalive_probes", "0", "1", "2", "3", "4", "5", "9")
		}
		fine := Rival{Code: explain.TimerWheel, Flags: []string{"--kernel=4.4"}, Text: "the kernel's timers are exact to the jiffy, as before Linux 4.8", Env: e}
		fine.Env.Facts.Wheel = false
		rivals = append(rivals, fine)
	}
	off, alive := e.Options["no-keepalive"] == "yes", e.Options["peer"] == "alive"
	choose := func(flag, value, text string) {
		r := Rival{Code: explain.Keepalive, Text: text, Env: option(e, flag, value), Flags: append([]string{"--" + flag + "=" + value}, same...)}
		if r.Env.Options["no-keepalive"] != "yes" && r.Env.Options["peer"] != "alive" {
			delete(r.Env.Options, "watch") // it ends by itself
			r.Flags = r.Flags[:1]
		}
		rivals = append(rivals, r)
	}
	if off {
		choose("no-keepalive", "no", "the program, or its language's library, switched SO_KEEPALIVE on")
	} else {
		choose("no-keepalive", "yes", "the program never switched SO_KEEPALIVE on")
	}
	if alive {
		choose("peer", "gone", "the peer was gone")
	} else {
		choose("peer", "alive", "the peer was there and answered")
	}
	return rivals
}

// option returns a copy of e with another value of an option.
func option(e Env, flag, value string) Env {
	c := e
	c.Options = maps.Clone(e.Options)
	c.Options[flag] = value
	return c
}

// storyOfKeepalive tells what was sent into the silence and who learned of it, from the packets.
func storyOfKeepalive(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	by, dropped := packetsByKind(r)
	if len(by[timeline.ACK]) == 0 {
		say(nil, "No connection came about.")
		return story
	}
	say(slices.Concat(by[timeline.SYN], by[timeline.SYNACK], by[timeline.ACK][:1]), "Three packets opened the connection. Then nobody had anything to say.")
	probes, answers, resets := by[timeline.KeepaliveProbe], by[timeline.KeepaliveACK], by[timeline.RST]
	if len(probes) > 0 {
		first := r.Packets[probes[0]-1].At()
		say(probes[:1], "After %s of silence the client's kernel sent a keepalive probe by itself: no data, and a sequence number that the other end acknowledged long ago, "+
			"so that a kernel that still knows the connection must answer.", seconds(first))
	}
	if len(answers) > 0 {
		say(slices.Concat(probes, answers), "Of %s, %s answered by the server's kernel at once. Neither program noticed.", counted(len(probes), "probe"), wasWere(len(answers)))
	} else if len(probes) > 0 {
		if len(probes) == 1 {
			say(probes, "No answer came to it.")
		} else {
			say(probes, "No answer came to any of the %d probes.", len(probes))
		}
	}
	if n := len(dropped); n > 0 && n == len(probes)+len(resets) {
		say(dropped, "All that the client sent after the handshake reached the server's link, where its capture saw it, and died in the server's INPUT chain.")
	}
	endOfKeepalive(r, by, say)
	return story
}

// handshakePackets open a connection.
const handshakePackets = 3

// endOfKeepalive tells how it ended, and what each end knew then.
func endOfKeepalive(r *result.Result, by map[timeline.What][]int, say func([]int, string, ...any)) {
	o := r.Outcome
	if o == nil || o.Seen == nil {
		say(nil, "The client's read() had not returned when the run ended.")
		return
	}
	at := seconds(o.Seen.Duration())
	switch {
	case o.SeenErr != "":
		switch resets := by[timeline.RST]; {
		case len(resets) > 0 && r.Packets[resets[0]-1].Fate == result.Delivered:
			say(resets, "At %s the kernel gave up, though the server was there: its reset arrived and ended the server's connection too, and the client's read() returned %s.", at, o.SeenErr)
		case len(resets) > 0:
			say(resets, "At %s the kernel gave up: it sent a reset into the dark, and the client's read() returned %s.", at, o.SeenErr)
		default:
			say(nil, "At %s the client's read() returned %s.", at, o.SeenErr)
		}
		if last := lastState(r, "server"); last == "ESTABLISHED" {
			say(nil, "The server, to whom nothing came, still has the connection as ESTABLISHED. Without keepalive of its own it will keep it for ever.")
		}
		if late := o.Seen.Duration() - o.At.Duration(); o.Verdict == result.Pass && late > 100*time.Millisecond {
			say(nil, "That is %s later than the formula says: the kernel's timer wheel rounds long waits up, never down.", roughly(late))
		}
	case o.What == string(timeline.EndOfStream):
		say(append(slices.Clone(by[timeline.FIN]), by[timeline.ACK][1:]...), "At %s the client's program ended the connection, and it closed as if nothing had been: it was alive all the time.", at)
	case len(r.Packets) == handshakePackets:
		say(nil, "For %s the client waited in read(), and its kernel sent nothing at all: without SO_KEEPALIVE silence is never questioned.", at)
		if lastState(r, "client") == "ESTABLISHED" && r.Rules != nil {
			say(nil, "Both ends still have the connection as ESTABLISHED, though no packet can pass from the client to the server. Only something to say would show it.")
		}
	}
}

// packetsByKind lists the packets by what they are, and those of the client that a rule dropped.
func packetsByKind(r *result.Result) (by map[timeline.What][]int, dropped []int) {
	by = map[timeline.What][]int{}
	for _, p := range r.Packets {
		by[timeline.What(p.What)] = append(by[timeline.What(p.What)], p.ID)
		if p.Fate == result.Dropped && p.From == "client" {
			dropped = append(dropped, p.ID)
		}
	}
	return by, dropped
}

func lastState(r *result.Result, host string) string {
	state := ""
	for _, s := range r.States {
		if s.Host == host {
			state = s.State
		}
	}
	return state
}

// counted writes "1 probe", "3 probes".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func wasWere(n int) string {
	if n == 1 {
		return "1 was"
	}
	return strconv.Itoa(n) + " were"
}

// roughly writes "104 ms", or seconds where it is more.
func roughly(d time.Duration) string {
	if d < time.Second {
		return millis(d)
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 1, 64) + " s"
}

// handOfKeepalive opens the connection with a line of Python that then waits in read(2), and lets the server vanish.
func handOfKeepalive(p Plan) []string {
	var set []string
	on := 1
	if p.Options["no-keepalive"] == "yes" {
		on = 0
	}
	set = append(set, fmt.Sprintf("s.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, %d)", on))
	for _, o := range [][2]string{{"keepidle", "TCP_KEEPIDLE"}, {"keepintvl", "TCP_KEEPINTVL"}, {"keepcnt", "TCP_KEEPCNT"}, {"user-timeout", "TCP_USER_TIMEOUT"}} {
		if v := p.Options[o[0]]; v != "" {
			set = append(set, fmt.Sprintf("s.setsockopt(socket.IPPROTO_TCP, socket.%s, %s)", o[1], v))
		}
	}
	hand := p.byHand()
	python := func(then string) string {
		return fmt.Sprintf(`ip netns exec client python3 -c 'import socket, time; s = %s; %s; s.connect(("%s", %d)); %s'`,
			hand.socket, strings.Join(set, "; "), hand.server.Addr(), httpPort, then)
	}
	alive, off := p.Options["peer"] == "alive", on == 0
	const listens = "until ip netns exec server ss -Hltn | grep -q 8080; do sleep 0.1; done # until the server listens"
	if alive {
		return []string{listens, python("time.sleep(" + handWatch(p) + "); s.shutdown(socket.SHUT_WR); print(s.recv(1))")}
	}
	read := "print(s.recv(1))"
	if off {
		read = "s.settimeout(" + handWatch(p) + "); print(s.recv(1))"
	}
	return []string{
		listens,
		python(read) + " &",
		"until ip netns exec server ss -Htn state established | grep -q 8080; do sleep 0.1; done # until they are connected",
		"ip netns exec server " + hand.iptables + " -A INPUT -s " + hand.client.Addr().String() + " -j DROP",
		"wait %4",
		"ip netns exec server ss -tn # what the server still believes",
	}
}

// handWatch is how long a person watches a connection that does not die, in seconds.
func handWatch(p Plan) string {
	if d := p.Options.Duration("watch"); d > 0 {
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	return "60"
}
