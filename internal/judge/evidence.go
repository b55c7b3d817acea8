package judge

import (
	"fmt"
	"slices"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
)

// Side is what captures, tracepoints and counters say of the same packets at one host. The counters are read while events may still come in:
// what came in that time (the Maybe fields) may be in them or not.
type Side struct {
	Host string

	// Dropped are packets that a rule dropped by the capture in front of it; DroppedTold are those of them with a kfree_skb of NETFILTER_DROP.
	// Drops are all such events, also of packets that no capture sees, and Rules is what the rules counted.
	Dropped, DroppedTold, Drops, DropsMaybe, Rules int
	RuleGone                                       bool // a counter could not be read
	OwnDrops                                       int  // of Drops: what this host had sent itself

	// Repeats are those that the captures show, RepeatsTold those of them with a tracepoint's event; Untold is the first one without.
	Repeats, RepeatsTold, Untold int
	// Sent are the events of repeats that went out, and Uncaptured those of them that are in no capture though the host's own kernel did not
	// throw them away. Failed are those with an errno.
	Sent, SentMaybe, Uncaptured, Failed int
	ByTimer                             int // of Sent: what a timer sent before the counters were read

	RetransSegs, Timeouts int // TcpRetransSegs, TcpExtTCPTimeouts
}

// Evidence holds the witnesses against each other. What captures or the ring lost makes a disagreement inconclusive.
//
// A tracepoint that is silent contradicts nobody where two others have seen the same: the captures and the kernel's own counter. Linux 6.18 in a
// virtual machine was seen to run no program at any tracepoint for 10 to 20 ms, about once a second, on one of two busy processors, and to count
// nothing as missed: 0.3 to 1.3 % of 3000 drops that the rule had counted, the same ones for three tracers at once. Of 1000 ends of connect() 6 had
// no record. In all that were looked at, and in no other of 215, the timer's softirq ran on top of one process, the machine's own agent, and ftrace had
// the event: there a kernel runs no program while that process has the processor. What a tracepoint says that nobody else saw is a contradiction, as is
// a drop or a repeat that only the captures know.
func Evidence(sides []Side, captureLost, ringLost int) []result.Check {
	drops, repeats, counters := newTally("kernel-drops", "dropped in the kernel"), newTally("kernel-repeats", "repeats in the kernel"), newTally("kernel-counters", "repeats counted")
	for _, s := range sides {
		drops.want, drops.got = drops.want+s.Rules, drops.got+s.Drops
		repeats.want, repeats.got = repeats.want+s.Repeats, repeats.got+s.RepeatsTold
		counters.want, counters.got = counters.want+s.Sent+s.Failed, counters.got+s.RetransSegs
		switch {
		case !s.RuleGone && s.Rules >= s.Dropped && s.DroppedTold <= s.Dropped && s.Rules > s.Drops && s.Rules-s.Drops >= s.Dropped-s.DroppedTold:
			drops.silence(s.Rules-s.Drops, s.Drops, "%s: the kernel's tracepoint was silent for %d of %d packets that a rule dropped and counted", s.Host, s.Rules-s.Drops, s.Rules)
		case s.DroppedTold != s.Dropped:
			drops.contradict("%s: %d of %d packets that a rule dropped have no kfree_skb", s.Host, s.Dropped-s.DroppedTold, s.Dropped)
		case s.RuleGone:
			drops.doubt("%s: a rule's counter could not be read", s.Host)
		case s.Rules > s.Drops || s.Rules < s.Drops-s.DropsMaybe:
			drops.contradict("%s: the rules counted %d packets, and kfree_skb told of %d", s.Host, s.Rules, s.Drops)
		}
		quiet := 0 // repeats that only captures and counter know
		switch {
		case s.RepeatsTold < s.Repeats && s.Uncaptured == 0 && s.RetransSegs >= s.Sent+s.Repeats-s.RepeatsTold:
			quiet = s.Repeats - s.RepeatsTold
			repeats.silence(quiet, s.Sent, "%s: the kernel's tracepoint was silent for %d of %d repeats that its counter has, first packet %d", s.Host, quiet, s.Repeats, s.Untold)
		case s.RepeatsTold != s.Repeats:
			repeats.contradict("%s: %d of %d repeats have no event of the kernel's, first packet %d", s.Host, s.Repeats-s.RepeatsTold, s.Repeats, s.Untold)
		case s.Uncaptured > 0:
			repeats.contradict("%s: %d repeats that the kernel told of are in no capture", s.Host, s.Uncaptured)
		}
		// A repeat that failed is counted or not, by how far it came, and before Linux 6.18 there is no event of it: then only the rule that dropped it tells.
		least, most := s.Sent-s.SentMaybe+quiet, s.Sent+s.Failed+s.OwnDrops+quiet
		counters.least, counters.most = counters.least+least, counters.most+most
		if s.RetransSegs < least || s.RetransSegs > most {
			counters.contradict("%s: TcpRetransSegs grew by %d, and the tracepoints told of %d", s.Host, s.RetransSegs, s.Sent)
		}
		if s.Timeouts < s.ByTimer {
			counters.contradict("%s: TcpExtTCPTimeouts grew by %d, and timers sent %d repeats", s.Host, s.Timeouts, s.ByTimer)
		}
	}
	out := []result.Check{drops.check(captureLost, ringLost), repeats.check(captureLost, ringLost), counters.check(0, ringLost)}
	return out
}

// untraced are states that inet_sock_set_state does not tell of, because no full socket is in them, and those in which every host begins or
// ends.
var untraced = []string{"LISTEN", "SYN-RECV", "FIN-WAIT-2", "TIME-WAIT", "CLOSED"}

// Transitions holds the states that inet_diag showed at both ends against the transitions that the kernel told of: a look may miss a state,
// but never see one in another order. One that the tracepoint is silent about is said.
func Transitions(seen []result.State, told []result.KernelEvent, ringLost int) result.Check {
	t := newTally("kernel-states", "states in the kernel")
	for _, host := range []string{"client", "server"} {
		var passed []string
		for _, e := range told {
			if e.Host == host && e.Hook == result.HookState {
				passed = append(passed, e.State)
			}
		}
		last := ""
		for _, s := range seen {
			if s.Host != host || slices.Contains(untraced, s.State) || s.State == last {
				continue
			}
			last, t.want = s.State, t.want+1
			i := slices.Index(passed, s.State)
			if i < 0 && times(told, host, s.State) < shown(seen, host, s.State) {
				t.silence(1, 0, "%s: inet_diag showed %s at %.3f s, and the kernel's tracepoint was silent about it", host, s.State, s.At.Duration().Seconds())
				continue
			}
			if i < 0 {
				t.contradict("%s: inet_diag showed %s at %.3f s, and the kernel told of no such transition", host, s.State, s.At.Duration().Seconds())
				continue
			}
			t.got, passed = t.got+1, passed[i+1:]
		}
	}
	t.spoken = t.got
	c := t.check(0, ringLost)
	if t.want == 0 {
		c.Verdict, c.Detail = result.Skip, "inet_diag showed no state of the kind"
	}
	return c
}

// times is how often the kernel told of a transition to a state, and shown how often inet_diag showed that a socket had come to it.
func times(told []result.KernelEvent, host, state string) (n int) {
	for _, e := range told {
		if e.Host == host && e.Hook == result.HookState && e.State == state {
			n++
		}
	}
	return n
}

func shown(seen []result.State, host, state string) (n int) {
	last := ""
	for _, s := range seen {
		if s.Host != host || slices.Contains(untraced, s.State) {
			continue
		}
		if s.State == state && s.State != last {
			n++
		}
		last = s.State
	}
	return n
}

// tally is one check in the making.
type tally struct {
	id, name    string
	want, got   int
	least, most int // where more than one number may be
	wrong, open string

	// What nobody told of though others have it, how many that were, and how many were told of.
	quiet          string
	silent, spoken int
}

func newTally(id, name string) *tally { return &tally{id: id, name: name} }

func (t *tally) contradict(format string, a ...any) {
	if t.wrong == "" {
		t.wrong = fmt.Sprintf(format, a...)
	}
}

// silence is for events that others account for.
func (t *tally) silence(n, told int, format string, a ...any) {
	t.quiet = fmt.Sprintf(format, a...)
	t.silent, t.spoken = t.silent+n, t.spoken+told
}

// mute reports whether so much is missing that the tracepoint may not work at all.
func (t *tally) mute() bool { return t.silent >= 3 && t.silent > t.spoken }

func (t *tally) doubt(format string, a ...any) { t.open = fmt.Sprintf(format, a...) }

func (t *tally) check(captureLost, ringLost int) result.Check {
	c := result.Check{ID: t.id, Name: t.name, Expected: fmt.Sprint(t.want), Observed: fmt.Sprint(t.got), Verdict: result.Pass}
	if t.least != t.most {
		c.Allowed = fmt.Sprintf("%d … %d", t.least, t.most)
	}
	switch {
	case t.wrong != "" && captureLost > 0:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CaptureDrops, fmt.Sprintf("%s; the captures lost %d packets", t.wrong, captureLost)
	case t.wrong != "" && ringLost > 0:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.EvidenceLost, fmt.Sprintf("%s; %d events of the kernel's were lost", t.wrong, ringLost)
	case t.wrong != "":
		c.Verdict, c.Code, c.Detail = result.Fail, explain.EvidenceDisagrees, t.wrong
	case t.open != "":
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.EvidenceLost, t.open
	case t.quiet != "" && t.mute():
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.EvidenceLost, t.quiet
	case t.quiet != "":
		c.Code, c.Detail = explain.EvidenceLost, t.quiet // a pass that says so
	}
	return c
}
