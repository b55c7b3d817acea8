package experiments

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// checksOfRecovery are what the schedule does not say: that the link took the time it should, what the SACK blocks tell, how many duplicate
// ACKs came before the first repeat, and how many round trips the repair took.
func checksOfRecovery(e Env, r *result.Result) []result.Check {
	rtt := e.Options.Duration("rtt")
	in, err := recoveryInput(e)
	if err != nil {
		return []result.Check{{ID: "settings", Name: "settings", Expected: "numbers", Observed: err.Error(), Verdict: result.Inconclusive}}
	}
	checks := []result.Check{
		sackCheck(r.Packets, in.SACK),
		duplicatesCheck(r.Packets, in.SACK, in.Reordering),
	}
	if !in.Link.Zero() { // a repair has no whole number of round trips where segments are under way for different times
		return checks
	}
	rounds := roundsCheck(r, rtt)
	if _, most, _ := linkTimes(r.Packets); rounds.Verdict == result.Fail && most-rtt/2 >= e.Facts.Jiffy() {
		rounds.Verdict, rounds.Code, rounds.Detail = result.Inconclusive, explain.LinkRTT, fmt.Sprintf("the link was late by %s", ms(most-rtt/2))
	}
	return append(checks, rounds)
}

// linkTimes are the shortest and the longest time that a packet was on the link, and how many were seen at both ends.
func linkTimes(packets []result.Packet) (least, most time.Duration, n int) {
	for _, p := range packets {
		if p.SentAt == nil || p.ArrivedAt == nil {
			continue
		}
		took := p.ArrivedAt.Duration() - p.SentAt.Duration()
		if n == 0 || took < least {
			least = took
		}
		most = max(most, took)
		n++
	}
	return least, most, n
}

// ms writes a time in milliseconds.
func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

// sackCheck holds the SACK blocks of each acknowledgement against what had reached the receiver by then (RFC 2018): each block is one whole
// run of bytes behind a hole, and as many are told as fit beside the timestamps, three. What came a second time is told first (RFC 2883). A
// receiver that had more than four runs has forgotten some.
func sackCheck(packets []result.Packet, sack bool) result.Check {
	c := result.Check{ID: "sack-blocks", Name: "SACK blocks", Verdict: result.Pass}
	acks, right, blocks := 0, 0, 0
	forgot := false // the receiver had more runs than it keeps
	before := 0     // bytes that the acknowledgement before told of
	for _, p := range packets {
		if p.From != "server" || p.SentAt == nil || strings.Contains(p.Flags, "SYN") || !strings.Contains(p.Flags, "ACK") {
			continue
		}
		acks++
		blocks += len(p.SACK)
		want := runs(packets, p.SentAt.Duration(), p.RelAck)
		forgot = forgot || len(want) > sackKept
		got, fits := p.SACK, sackFits
		if twice(packets, p) { // the first block tells of what came a second time, and takes the place of another
			got, fits = got[1:], fits-1
		}
		if !sack {
			want = nil
		}
		news := covered(p) > before // one that lags behind each segment has none
		before = covered(p)
		if told(want, got, fits) || sack && forgot && toldPart(want, got) || sack && news && toldBefore(packets, p, got, fits) {
			right++
			continue
		}
		if c.Detail == "" {
			c.Detail = fmt.Sprintf("the acknowledgement at %s says %s, and %s had arrived", seconds(p.SentAt.Duration()), blockText(p.SACK), blockText(want))
		}
	}
	c.Expected = fmt.Sprintf("%d of %d as the arrivals say", acks, acks)
	c.Observed = fmt.Sprintf("%d of %d, %d blocks in all", right, acks, blocks)
	switch {
	case acks == 0:
		c.Verdict, c.Detail = result.Skip, "the server acknowledged nothing"
	case right < acks:
		c.Verdict, c.Code = result.Fail, explain.WrongSACK
	}
	return c
}

// runs are the runs of bytes behind ack that had reached the receiver before a time.
func runs(packets []result.Packet, by time.Duration, ack uint32) [][2]uint32 {
	var all [][2]uint32
	for _, p := range packets {
		if p.From == "client" && p.Len > 0 && p.ArrivedAt != nil && p.ArrivedAt.Duration() <= by && p.Fate != result.Dropped && p.RelSeq+uint32(p.Len) > ack {
			all = append(all, [2]uint32{p.RelSeq, p.RelSeq + uint32(p.Len)})
		}
	}
	slices.SortFunc(all, func(a, b [2]uint32) int { return int(a[0]) - int(b[0]) })
	var out [][2]uint32
	for _, b := range all {
		if k := len(out); k > 0 && b[0] <= out[k-1][1] {
			out[k-1][1] = max(out[k-1][1], b[1])
		} else {
			out = append(out, b)
		}
	}
	return out
}

// covered is how many bytes an acknowledgement tells of.
func covered(ack result.Packet) int {
	n := int(ack.RelAck)
	for _, b := range ack.SACK {
		n += int(b[1] - b[0])
	}
	return n
}

// inStack is how long before an acknowledgement that was held back a segment may have passed the capture without being in it: the timer
// sends it while others are taken in. Up to 32 µs were seen on a busy machine, and 55 in a guest, whose instructions take 4 ns each.
const inStack = 200 * time.Microsecond

// toldBefore reports whether blocks are those of a moment shortly before the acknowledgement.
func toldBefore(packets []result.Packet, ack result.Packet, got [][2]uint32, fits int) bool {
	left := ack.SentAt.Duration()
	for _, p := range packets {
		if p.From == "client" && p.ArrivedAt != nil && p.ArrivedAt.Duration() <= left && p.ArrivedAt.Duration() > left-inStack &&
			told(runs(packets, p.ArrivedAt.Duration()-1, ack.RelAck), got, fits) {
			return true
		}
	}
	return false
}

// sackFits is how many blocks fit into the options beside the timestamps.
const sackFits = 3

// twice reports whether the first block of an acknowledgement is a D-SACK that is true: of bytes that are acknowledged, or in another
// block (RFC 2883, section 4), and that had reached the receiver more than once.
func twice(packets []result.Packet, ack result.Packet) bool {
	if len(ack.SACK) == 0 {
		return false
	}
	b := ack.SACK[0]
	inside := len(ack.SACK) > 1 && b[0] >= ack.SACK[1][0] && b[1] <= ack.SACK[1][1]
	if b[1] > ack.RelAck && !inside {
		return false
	}
	copies := 0
	for _, p := range packets {
		if p.From == "client" && p.Len > 0 && p.ArrivedAt != nil && p.ArrivedAt.Duration() <= ack.SentAt.Duration() && p.Fate != result.Dropped && p.RelSeq <= b[0] && p.RelSeq+uint32(p.Len) >= b[1] {
			copies++
		}
	}
	return copies > 1
}

func told(want, got [][2]uint32, fits int) bool {
	if len(got) != min(len(want), fits) {
		return false
	}
	for _, b := range got {
		if !slices.Contains(want, b) {
			return false
		}
	}
	return true
}

// sackKept is TCP_NUM_SACKS: how many runs a receiver keeps for its answers. Of more it forgets the oldest (tcp_sack_new_ofo_skb), and what
// it tells of that one later is what came since.
const sackKept = 4

// toldPart reports whether each block lies in a run that arrived, and there is one at all.
func toldPart(want, got [][2]uint32) bool {
	for _, b := range got {
		if !slices.ContainsFunc(want, func(r [2]uint32) bool { return r[0] <= b[0] && b[1] <= r[1] }) {
			return false
		}
	}
	return len(got) > 0
}

func blockText(blocks [][2]uint32) string {
	if len(blocks) == 0 {
		return "no block"
	}
	var s []string
	for _, b := range blocks {
		s = append(s, fmt.Sprintf("%d–%d", b[0], b[1]-1))
	}
	return strings.Join(s, ", ")
}

// duplicatesCheck counts the duplicate ACKs that had reached the client before its first fast retransmission. Without SACK it is exactly
// the threshold: one less is no proof, and at the last one it acts at once. With SACK RACK needs one at least,
// and an acknowledgement of something new that carries a block says as much.
func duplicatesCheck(packets []result.Packet, sack bool, threshold int) result.Check {
	c := result.Check{ID: "duplicates", Name: "duplicate ACKs before it", Expected: fmt.Sprint(threshold), Verdict: result.Pass}
	if sack {
		c.Expected = "1 or more"
	}
	first := -1
	for i, p := range packets {
		if p.What == string(timeline.FastRetransmit) {
			first = i
			break
		}
	}
	if first < 0 {
		c.Observed, c.Verdict, c.Detail = "none", result.Skip, "nothing was retransmitted fast"
		return c
	}
	n := 0
	for _, p := range packets {
		if (p.What == string(timeline.DuplicateACK) || sack && len(p.SACK) > 0) && p.ArrivedAt != nil && p.ArrivedAt.Duration() <= packets[first].At() {
			n++
		}
	}
	c.Observed = fmt.Sprint(n)
	if sack && n < 1 || !sack && n != threshold {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.FastRetransmits, "the sender did not act on what the rule says"
	}
	return c
}

// roundsCheck holds the time from the first repeat to the acknowledgement of everything against the predicted one, in round trips.
func roundsCheck(r *result.Result, rtt time.Duration) result.Check {
	c := result.Check{ID: "recovery-rtts", Name: "round trips to recover", Verdict: result.Pass}
	var want, got [2]time.Duration // of the first repeat and of the last acknowledgement, as it arrives
	repeats, seen := 0, 0
	for _, e := range r.Events {
		switch {
		case !e.Expected || e.Maybe:
		case e.Host == "client" && timeline.What(e.What).Again() && timeline.What(e.What).Family() == timeline.Data:
			if repeats == 0 {
				want[0] = e.At.Duration()
			}
			repeats++
		case e.Host == "server" && e.Exact && e.What == string(timeline.ACK):
			want[1] = max(want[1], e.At.Duration()+rtt/2)
		}
	}
	for _, p := range r.Packets {
		switch {
		case p.From == "client" && p.Len > 0 && timeline.What(p.What).Again():
			if seen == 0 {
				got[0] = p.At()
			}
			seen++
		case p.From == "server" && p.What == string(timeline.ACK) && p.ArrivedAt != nil:
			got[1] = max(got[1], p.ArrivedAt.Duration())
		}
	}
	if repeats == 0 || seen == 0 {
		c.Expected, c.Observed = fmt.Sprintf("%d repeats", repeats), fmt.Sprintf("%d repeats", seen)
		if repeats != seen {
			c.Verdict, c.Code = result.Fail, explain.WrongRounds
		}
		return c
	}
	// A round trip is what the link gives; a timer in between takes time of its own, rounded to whole trips.
	w, g := rounds(want[1]-want[0], rtt), rounds(got[1]-got[0], rtt)
	c.Expected, c.Observed = fmt.Sprint(w), fmt.Sprintf("%d (%s)", g, ms(got[1]-got[0]))
	if slack := wheelRounds(want[1]-want[0], rtt); g < w || g > w+slack {
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongRounds, "the repair took another number of round trips than the rule says"
		_, most, _ := linkTimes(r.Packets)
		if late := most - rtt/2; g > w && rounds(got[1]-got[0]-2*time.Duration(g)*late, rtt) <= w+slack { // each way of each round trip
			c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.LinkRTT, fmt.Sprintf("the link was late by %s", ms(late))
		}
	}
	return c
}

// rounds is a time in whole round trips.
func rounds(d, rtt time.Duration) int { return int((d + rtt/4) / rtt) }

// wheelRounds is how many more round trips a repair may take whose time is a timer's: the wheel is late by up to a seventh, and a jiffy.
func wheelRounds(d, rtt time.Duration) int {
	if rounds(d, rtt) <= 3 {
		return 0
	}
	return int(d/7/rtt) + 1
}
