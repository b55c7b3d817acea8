package experiments

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/oracle"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// checksOfFINLoss are about what the schedule does not say: that the repeats are one FIN, that who gives up tells nobody, that the end is a
// time, and what the kernel's own timer says of the last wait.
func checksOfFINLoss(e Env, r *result.Result) []result.Check {
	c, err := finLossInput(e)
	if err != nil {
		return nil // the prediction failed before
	}
	var out []result.Check
	for _, host := range []string{"client", "server"} {
		if len(finsOf(r, host)) > 1 || repeatsFIN(r, host) {
			out = append(out, sameFIN(r, host), finLimit(e, c, r, host))
		}
	}
	out = append(out, unannounced(r))
	for _, host := range []string{"client", "server"} {
		if k, ok := waitTimer(e, c, r, host); ok {
			out = append(out, k)
		}
	}
	if doubtful(r) {
		for i := range out {
			if out[i].Verdict == result.Fail {
				out[i].Verdict, out[i].Detail = result.Inconclusive, "packets may be missing from the captures"
			}
		}
	}
	return out
}

// repeatsFIN reports whether a repeat of a host's FIN was predicted.
func repeatsFIN(r *result.Result, host string) bool {
	if r.Prediction == nil {
		return false
	}
	for _, e := range r.Prediction.Events {
		if e.Host == host && e.What == string(timeline.FINAgain) {
			return true
		}
	}
	return false
}

// finsOf are a host's FINs, the first one included.
func finsOf(r *result.Result, host string) []result.Packet {
	var out []result.Packet
	for _, p := range r.Packets {
		if p.From == host && timeline.What(p.What).Family() == timeline.FIN {
			out = append(out, p)
		}
	}
	return out
}

func sameFIN(r *result.Result, host string) result.Check {
	c := result.Check{ID: "same-fin-" + host, Name: fmt.Sprintf("same FIN each time, %s", host), Expected: "1 sequence number, no data", Verdict: result.Pass}
	fins := finsOf(r, host)
	if len(fins) < 2 {
		c.Observed, c.Verdict, c.Detail = "no repeat", result.Skip, "nothing was repeated"
		return c
	}
	c.Observed = c.Expected
	for _, p := range fins {
		if p.Seq != fins[0].Seq || p.Len != 0 {
			c.Observed, c.Verdict, c.Code = "another segment", result.Fail, explain.UnexpectedPacket
			c.Detail = fmt.Sprintf("packet %d carries something else", p.ID)
		}
	}
	return c
}

// finLimit judges that the end of a socket follows a time from the first repeat by the retransmission timer, which a tail loss probe is not.
func finLimit(e Env, rules oracle.Closing, r *result.Result, host string) result.Check {
	limit := rules.Limit(e.Facts, host == "server")
	c := result.Check{ID: "time-limit-" + host, Name: fmt.Sprintf("the end of its FIN is a time, %s", host), Verdict: result.Pass}
	ceiling := e.Facts.RTOMax && !rules.Shutdown && oneSecondCeiling(rules, host)
	c.Expected = fmt.Sprintf("%s or more after RTO 1", seconds(limit))
	if ceiling { // the ceiling of the wait comes before the limit
		c.Expected = "at the ceiling of the wait"
	}
	first := 1
	end := rules.Client
	if host == "server" {
		end = rules.Server
	}
	if !rules.NoSACK && end.EarlyRetrans >= 3 {
		first = 2
	}
	fins, gone := finsOf(r, host), goneAt(r, host)
	switch {
	case len(fins) <= first:
		c.Observed, c.Verdict, c.Detail = "no repeat by this timer", result.Skip, "the limit counts from the first one"
		return c
	case gone == nil || gone.Seen == nil:
		c.Observed, c.Verdict, c.Detail = "no end", result.Skip, "the socket was still there"
		return c
	}
	from, last := fins[first].At(), fins[len(fins)-1].At()
	c.Observed = fmt.Sprintf("%s, the last repeat at %s", seconds(gone.Seen.Duration()-from), seconds(last-from))
	switch {
	case ceiling:
	case gone.Seen.Duration()-from < limit-nearLimit:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DiedEarly, "it ended before the limit"
	case last-from >= limit+nearLimit:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DiedLate, "a repeat was sent after the limit"
	}
	return c
}

// oneSecondCeiling reports whether an orphan's wait reaches its ceiling before tcp_orphan_retries has passed: then 0 means 0.
func oneSecondCeiling(c oracle.Closing, host string) bool {
	end := c.Client
	if host == "server" {
		end = c.Server
	}
	return end.OrphanRetries == 0 && end.UserTimeout == 0 && end.RTOMax > 0 && end.RTOMax < 60*time.Second
}

// goneAt is the event that ended a host's socket.
func goneAt(r *result.Result, host string) *result.Event {
	for i, e := range r.Events {
		if e.Host == host && e.What == string(timeline.SocketGone) {
			return &r.Events[i]
		}
	}
	return nil
}

// unannounced judges that nobody resets a connection that the other end may still have, unless that was predicted.
func unannounced(r *result.Result) result.Check {
	want, got := 0, 0
	if r.Prediction != nil {
		for _, e := range r.Prediction.Events {
			if e.What == string(timeline.RST) {
				want++
			}
		}
	}
	for _, p := range r.Packets {
		if p.What == string(timeline.RST) {
			got++
		}
	}
	c := result.Check{ID: "resets", Name: "resets", Expected: fmt.Sprint(want), Observed: fmt.Sprint(got), Verdict: result.Pass}
	if want != got {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.Orphans, "a socket that gives up tells nobody; a reset answers what nobody knows"
	}
	return c
}

// timerSlack is how much later than it should a look may find a timer: between the packet that armed it and the look lies a machine.
const timerSlack = 25 * time.Millisecond

// timerStalled is how much later it may be on a machine that stalled.
const timerStalled = 250 * time.Millisecond

// waitTimer compares the kernel's own account of the timer of FIN-WAIT-2 or TIME-WAIT, when a look first found it, with the rule: what it
// was armed with, before the wheel rounds it up. It counts from the packet that brought the socket there.
func waitTimer(e Env, rules oracle.Closing, r *result.Result, host string) (result.Check, bool) {
	end := rules.Client
	if host == "server" {
		end = rules.Server
	}
	for _, s := range r.Samples {
		if s.Host != host || s.State != "FIN-WAIT-2" && s.State != "TIME-WAIT" || s.Timer != "keepalive" && s.Timer != "time-wait" {
			continue
		}
		want, code := oracle.TimeWaitLen, explain.TimeWait
		if s.State == "FIN-WAIT-2" {
			if want, code = end.FINWait(), explain.FINTimeout; want > oracle.TimeWaitLen || s.Timer == "keepalive" {
				want /= 2 // twice the excess, one after the other
			}
			want = max(want, rules.FINFloor(e.Facts, host == "server"))
		}
		armed := time.Duration(-1)
		for _, p := range r.Packets {
			if p.To == host && p.Fate == result.Delivered && arrival(p) <= s.At.Duration() {
				armed = arrival(p)
			}
		}
		c := result.Check{ID: "wait-timer-" + host, Name: fmt.Sprintf("%s timer, %s", s.State, host), Expected: seconds(want), Verdict: result.Pass}
		got, took := s.At.Duration()+s.Expires.Duration()-armed, s.Took.Duration() // it was looked up at some moment of the look
		c.Observed = seconds(got)
		switch {
		case armed < 0:
			c.Observed, c.Verdict, c.Detail = "no packet before it", result.Skip, "it counts from the packet that brought the socket there"
		case got < want-2*e.Facts.Jiffy() && armed > s.At.Duration()-took, got > want+timerSlack+e.Facts.Jiffy() && got-took <= want+timerSlack+e.Facts.Jiffy():
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, fmt.Sprintf("the machine was busy: the look took %s", ms(took))
		case got < want-2*e.Facts.Jiffy():
			c.Verdict, c.Code, c.Detail = result.Fail, code, "the kernel armed a shorter one"
		case got > want+timerSlack+e.Facts.Jiffy() && got < want+timerStalled && len(r.Stalls) > 0:
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled while it was looked at"
		case got > want+timerSlack+e.Facts.Jiffy():
			c.Verdict, c.Code, c.Detail = result.Fail, code, "the kernel armed a longer one"
		}
		return c, true
	}
	return result.Check{}, false
}

// rivalsOfFINLoss are the usual reasons for another end: other limits, another loss, a program that did something else, exact timers.
func rivalsOfFINLoss(e Env) []Rival {
	c, err := finLossInput(e)
	if err != nil {
		return nil
	}
	truth, err := c.Predict(e.Facts, e.Start)
	if err != nil {
		return nil
	}
	var rivals []Rival
	add := func(r Rival) {
		in, err := finLossInput(r.Env)
		if err != nil {
			return
		}
		if t, err := in.Predict(e.Facts, e.Start); err == nil && !sameTimeline(t, truth) {
			rivals = append(rivals, r)
		}
	}
	knob := func(host, flag, name, code string, values ...string) {
		now := e.Sysctls[host+".net.ipv4."+name]
		for _, v := range values {
			if v != now {
				add(Rival{Code: code, Text: fmt.Sprintf("the %s behaves as if %s were %s (it is set to %s)", host, name, v, now),
					Flags: []string{"--" + flag + "=" + v}, Env: e.With(host, "net.ipv4."+name, v)})
			}
		}
	}
	retries := []string{"0", "1", "2", "3", "4", "5", "6", "7"}
	knob("client", "orphan-retries", "tcp_orphan_retries", explain.Orphans, retries...)
	knob("server", "server-orphan-retries", "tcp_orphan_retries", explain.Orphans, retries...)
	knob("client", "retries2", "tcp_retries2", explain.RetriesAreTime, "1", "2", "3", "4", "5", "8", "15")
	waits := []string{"1", "2", "3", "5", "10", "30", "60", "61", "70", "90", "120"}
	knob("client", "fin-timeout", "tcp_fin_timeout", explain.FINTimeout, waits...)
	knob("server", "server-fin-timeout", "tcp_fin_timeout", explain.FINTimeout, waits...)
	for _, v := range []string{"none", "fin", "ack", "second-fin", "last-ack"} {
		if v != e.Options["lose"] {
			add(Rival{Code: explain.Orphans, Text: fmt.Sprintf("what is lost is: %s", v), Flags: []string{"--lose=" + v}, Env: e.WithOption("lose", v)})
		}
	}
	for _, v := range []string{"client", "both"} {
		if v != e.Options["close"] {
			add(Rival{Code: explain.FINTimeout, Text: fmt.Sprintf("who closes is: %s", v), Flags: []string{"--close=" + v}, Env: e.WithOption("close", v)})
		}
	}
	for _, v := range []string{"close", "shutdown"} {
		if v != e.Options["call"] {
			add(Rival{Code: explain.Orphans, Text: fmt.Sprintf("the client's program called %s()", v), Flags: []string{"--call=" + v}, Env: e.WithOption("call", v)})
		}
	}
	fine := Rival{Code: explain.TimerWheel, Flags: []string{"--kernel=4.4"}, Text: "the kernel's timers are exact to the jiffy, as before Linux 4.8", Env: e}
	fine.Env.Facts.Wheel = false
	return append(rivals, fine)
}

// sameTimeline reports whether two predictions have the same events at the same times.
func sameTimeline(a, b timeline.Timeline) bool {
	if len(a.Events) != len(b.Events) || (a.Outcome == nil) != (b.Outcome == nil) || a.Outcome != nil && *a.Outcome != *b.Outcome {
		return false
	}
	for i := range a.Events {
		if a.Events[i] != b.Events[i] {
			return false
		}
	}
	return true
}

// finLossByHand is a server and a client of a line each. What is lost at the end is lost only once the connection is open.
func finLossByHand(p Plan) []string {
	const port = httpPort + 10 // the other one belongs to http.server
	hand, o := p.byHand(), p.Options
	end := "time.sleep(86400)"
	if o["close"] == "both" {
		end = fmt.Sprintf("time.sleep(%g); c.close(); time.sleep(86400)", o.sinceAccept(finCloseAt(o)+o.Duration("server-after")).Seconds())
	}
	var set, rule string
	if v := o["linger2"]; v != "" {
		set += "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_LINGER2, " + v + "); "
	}
	if v := o["user-timeout"]; v != "" {
		set += "s.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, " + v + "); "
	}
	if f, ok := finRule(o); ok {
		f.Rule.FromPort, f.Rule.ToPort = other(f.Rule.FromPort, port), other(f.Rule.ToPort, port)
		f.Rule.IPv6 = hand.ipv6
		rule = fmt.Sprintf(`%sos.system("ip netns exec %s %s -A %s %s"); `, waitByHand(o), f.Host, f.Rule.Program(), f.Rule.Chain, joined(f.Rule.Spec()))
	}
	call := "s.close(); time.sleep(86400)"
	if o["call"] == "shutdown" {
		call = "s.shutdown(socket.SHUT_WR); print(s.recv(1)); time.sleep(86400)"
	}
	return []string{
		fmt.Sprintf(`ip netns exec server python3 -c 'import socket, time; c = %s.accept()[0]; %s' &`, hand.listener(port), end),
		"sleep 1 # until it listens",
		fmt.Sprintf(`ip netns exec client python3 -c 'import os, socket, time; s = %s; %ss.connect(("%s", %d)); %stime.sleep(%g); %s' &`,
			hand.socket, set, hand.server.Addr(), port, rule, finCloseAt(o).Seconds(), call),
		fmt.Sprintf("for i in $(seq 1200); do ip netns exec client ss -Htano dport = %d; ip netns exec server ss -Htano sport = %d; echo; sleep 0.1; done # their states, with timers",
			port, port),
		"kill %4 %5",
	}
}

func other(port, by uint16) uint16 {
	if port == 0 {
		return 0
	}
	return by
}
