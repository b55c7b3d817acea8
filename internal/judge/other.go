package judge

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/link"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// States judges the TCP states that a host's socket passed through. Looks are samples, so a state may be missed: that is inconclusive,
// while a state that does not belong there is a contradiction. One in parentheses is too short to be counted on. broken is why looking
// ended early, or nil; where nobody could look at all (seen has nothing of the host), there is nothing to judge. cut says that observation
// ended before the experiment did.
func States(host string, want []string, seen []result.State, broken error, cut bool) result.Check {
	var got []string
	for _, s := range seen {
		if s.Host == host {
			got = append(got, s.State)
		}
	}
	c := result.Check{ID: "states-" + host, Name: host + " states", Expected: strings.Join(want, " → "), Observed: strings.Join(got, " → "), Verdict: result.Pass}
	if broken != nil && len(got) == 0 {
		c.Observed, c.Verdict, c.Code, c.Detail = "not visible", result.Skip, explain.StatesUnseen, broken.Error()
		return c
	}
	passed, stranger := follow(want, slices.Compact(got)) // seen twice is not passed twice
	if stranger != "" {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongState, stranger+" does not belong here"
		return c
	}
	missed := ""
	for i, w := range want {
		if !passed[i] && !strings.HasPrefix(w, "(") {
			missed = w
		}
	}
	switch {
	case broken != nil:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.StatesUnseen, broken.Error()
	case missed != "" && cut:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CutShort, "observation ended before the connection did"
	case missed != "":
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.StatesUnseen, "inet_diag did not show "+missed
	}
	return c
}

// follow finds the way through the states that were expected on which those that were seen lie, in their order, and that leaves out the
// fewest that must be seen. stranger is the first state that lies on no way.
func follow(want, got []string) (passed map[int]bool, stranger string) {
	const nowhere = 1 << 20
	must := func(i int) int {
		if strings.HasPrefix(want[i], "(") {
			return 0
		}
		return 1
	}
	// missing[g][i] is the least number of states left out from want[i] on, with got[g] still to come.
	missing := make([][]int, len(got)+1)
	for g := len(got); g >= 0; g-- {
		missing[g] = make([]int, len(want)+1)
		if g < len(got) {
			missing[g][len(want)] = nowhere
		}
		for i := len(want) - 1; i >= 0; i-- {
			missing[g][i] = missing[g][i+1] + must(i)
			if g < len(got) && strings.Trim(want[i], "()") == got[g] {
				missing[g][i] = min(missing[g][i], missing[g+1][i+1])
			}
		}
	}
	if missing[0][0] >= nowhere {
		if len(got) > 1 {
			if _, s := follow(want, got[:len(got)-1]); s != "" {
				return nil, s
			}
		}
		return nil, got[len(got)-1]
	}
	passed = map[int]bool{}
	for g, i := 0, 0; g < len(got); i++ {
		if strings.Trim(want[i], "()") == got[g] && missing[g][i] == missing[g+1][i+1] {
			passed[i] = true
			g++
		}
	}
	return passed, ""
}

// where names a rule's chain, with its table unless that is the usual one.
func where(r result.Rule, between string) string {
	if r.Table == "" || r.Table == "filter" {
		return r.Chain
	}
	return r.Table + between + r.Chain
}

// RuleGone is the check of a rule whose counter could not be read.
func RuleGone(r result.Rule, err error) result.Check {
	c := Rule(r, 0, 0, 0)
	c.Expected, c.Observed, c.Verdict, c.Code, c.Detail = "a counter", "none", result.Inconclusive, explain.RuleCounterOff, err.Error()
	return c
}

// Rule judges a rule's counter against the packets that reached it: as many as the capture in front of it saw. late are those that came while the counter
// was read or after it, which may be in it or not.
func Rule(r result.Rule, seen, late, lost int) result.Check {
	c := result.Check{
		ID: fmt.Sprintf("rule-%s-%s", r.Host, strings.ToLower(where(r, "-"))), Name: r.Host + " " + where(r, " ") + " drops",
		Expected: fmt.Sprint(seen), Observed: fmt.Sprint(r.Packets), Verdict: result.Pass,
	}
	switch {
	case !r.AfterCapture && !r.Between():
		c.Expected, c.Verdict, c.Detail = "not visible", result.Skip, "the capture sits behind this rule"
	case lost > 0:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CaptureDrops, fmt.Sprintf("the capture lost %d packets", lost)
	case r.Packets == 0 && seen+late == 0:
		c.Verdict, c.Detail = result.Skip, "nothing came to this rule, so it proves nothing"
	case r.Packets < uint64(seen) || r.Packets > uint64(seen+late):
		c.Verdict, c.Code, c.Detail = result.Fail, explain.RuleCounterOff, "the rule's counter and the capture disagree"
	}
	return c
}

// SameISN judges that every repetition of a SYN is the same SYN: a new sequence number would be a new connection.
func SameISN(packets []result.Packet) result.Check {
	c := result.Check{ID: "isn", Name: "same SYN each time", Expected: "1 sequence number", Verdict: result.Pass}
	type ports struct{ from, to int } // two connections to different ports may come from the same one
	type syn struct {
		ports
		seq uint32
	}
	isn, connections := map[syn]bool{}, map[ports]bool{}
	for _, p := range packets {
		if p.From == "client" && timeline.What(p.What).Family() == timeline.SYN {
			c := ports{p.SrcPort, p.DstPort}
			isn[syn{c, p.Seq}], connections[c] = true, true
		}
	}
	if n := len(connections); n > 1 {
		c.Expected = fmt.Sprintf("%d sequence numbers in %d connections", n, n)
	}
	c.Observed = fmt.Sprintf("%d sequence numbers", len(isn))
	switch {
	case len(isn) == 0:
		c.Verdict, c.Detail = result.Skip, "no SYN was captured"
	case len(isn) == 1:
		c.Observed = "1 sequence number"
	case len(isn) == len(connections):
	default:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.ISNChanged, "a repeated SYN had another sequence number"
	}
	return c
}

// Arrivals judges that each packet that was sent was also seen at the other end's capture. oneSided says why it need not be, or is empty.
func Arrivals(packets []result.Packet, lost int, oneSided string) result.Check {
	arrived, stopped := 0, 0
	for _, p := range packets {
		if p.Fate == result.Dropped && p.ArrivedAt == nil {
			stopped++ // by a rule between the ends
		}
		if p.SentAt != nil && p.ArrivedAt != nil {
			arrived++
		}
	}
	c := result.Check{ID: "arrivals", Name: "seen at both ends", Expected: fmt.Sprint(len(packets) - stopped), Observed: fmt.Sprint(arrived), Verdict: result.Pass}
	switch {
	case lost > 0:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CaptureDrops, fmt.Sprintf("the capture lost %d packets", lost)
	case len(packets) == 0:
		c.Verdict, c.Detail = result.Skip, "no packet was captured"
	case oneSided != "":
		c.Verdict, c.Detail = result.Skip, oneSided
	case arrived != len(packets)-stopped:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.CapturesDisagree, "a packet was seen at one end only"
	}
	return c
}

// linkSlack is how much longer than half the RTT packets are under way where the link keeps its time: what delays them must run twice for it.
// One packet may be late by up to a jiffy: the frames of a burst are delivered one after the other, and each costs the receiver's work. From
// there on it counts as a stall. What a packet sets off that is late is judged by its own window in any case.
const linkSlack = time.Millisecond

// Dues are the instants at which packets were due at the other end of the link, which keeps its time; 0 for one that was not seen leaving.
// packets are in the order in which they left.
func Dues(l result.Link, packets []result.Packet) []time.Duration {
	plan := link.Plan{Rate: l.Rate, Every: l.Every, Hold: result.Durations(l.Hold), Back: result.Durations(l.Back), Behind: result.Durations(l.Behind)}
	for _, f := range l.Flows {
		plan.Flows = append(plan.Flows, link.Flow{Port: uint16(f.Port), Hold: result.Durations(f.Hold), Back: result.Durations(f.Back)})
	}
	there, back := link.Way{Plan: plan, Delay: l.RTT.Duration() / 2}, link.Way{Plan: plan.Reverse(), Delay: l.RTT.Duration() / 2}
	out := make([]time.Duration, len(packets))
	for i, p := range packets {
		way := &back
		if p.From == "client" {
			way = &there
		}
		if p.SentAt != nil {
			out[i] = way.Of(uint16(p.SrcPort), uint16(p.DstPort)).Due(p.SentAt.Duration(), p.Frame, way.Counts(p.What != string(timeline.ICMP), p.Len > 0))
		}
	}
	return out
}

// Link judges the time that the packets were under way against half the RTT that was asked for. A link that is faster is not the one that
// the prediction stands on; one that was slower for a moment is the machine's doing. Where time is virtual the machine takes none of it, so a
// link on which not one packet was in time is slower than it was asked to be.
func Link(l result.Link, packets []result.Packet, jiffy time.Duration, virtual bool) result.Check {
	half := l.RTT.Duration() / 2
	most := half + max(jiffy, linkSlack)
	c := result.Check{ID: "link", Name: "time on the link", Expected: short(half), Verdict: result.Pass,
		Allowed: fmt.Sprintf("%s … %s", short(half), short(most))}
	var took []time.Duration // without what the link held back by its plan
	dues := Dues(l, packets)
	for i, p := range packets {
		if p.SentAt != nil && p.ArrivedAt != nil {
			took = append(took, half+p.ArrivedAt.Duration()-dues[i])
		}
	}
	if len(took) == 0 {
		c.Observed, c.Verdict, c.Detail = "nothing", result.Skip, "no packet was seen at both ends"
		return c
	}
	slices.Sort(took)
	least, median, worst := took[0], took[(len(took)-1)/2], took[len(took)-1]
	c.Observed = short(least)
	if least != worst {
		c.Observed += " … " + short(worst)
	}
	switch {
	case least < half:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.LinkRTT, "the link is faster than it was asked to be"
	case virtual && least > half+linkSlack:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.LinkRTT, "the link is slower than it was asked to be"
	case l.Lost > 0:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.CaptureDrops, fmt.Sprintf("the link lost %d packets from a full queue", l.Lost)
	case worst > most:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.LinkRTT, "what delays the packets did not run in time"
	case median > half+linkSlack:
		c.Verdict, c.Code = result.Inconclusive, explain.LinkRTT
		c.Detail = fmt.Sprintf("what delays the packets did not run in time: half of them took %s or more", short(median))
	}
	return c
}

// Orphans judges that nothing else was on the wire.
func Orphans(n int) result.Check {
	c := result.Check{ID: "orphans", Name: "other packets", Expected: "0", Observed: fmt.Sprint(n), Verdict: result.Pass}
	if n > 0 {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.UnexpectedPacket, "something else was on the wire"
	}
	return c
}
