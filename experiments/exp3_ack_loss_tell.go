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

// lostData is what a result shows of the data that nobody took in.
type lostData struct {
	first     *result.Packet // the write's own segment
	again     []result.Packet
	probes    []int // packets
	rtos      []result.Packet
	answers   []result.Packet // what the server sent after the write
	measured  time.Duration   // when the last answer before it had come, and so the round trip of the request was known
	ended     time.Duration   // when the program learnt it; 0: it did not
	endedBy   string
	synACKs   []int
	challenge []int
	resets    []int // of the client
}

func findLostData(r *result.Result) lostData {
	var d lostData
	probing := r.Prediction == nil || slices.ContainsFunc(r.Prediction.Events, func(e result.Event) bool { return e.What == string(timeline.TailLossProbe) })
	for i := range r.Packets {
		p := r.Packets[i]
		what := timeline.What(p.What)
		switch {
		case p.From == "client" && what == timeline.Data && p.Len > 0:
			for _, answer := range d.answers {
				if answer.ArrivedAt != nil {
					d.measured = answer.ArrivedAt.Duration()
				}
			}
			d.first, d.again, d.answers = &p, nil, nil // of several writes, the last
		case p.From == "client" && what.Family() == timeline.Data && d.first != nil:
			d.again = append(d.again, p)
		case p.From == "server" && d.first != nil:
			d.answers = append(d.answers, p)
		}
		if what == timeline.TailLossProbe && !probing {
			what = timeline.RTORetransmission // likeProbe
		}
		switch what {
		case timeline.TailLossProbe:
			d.probes = append(d.probes, p.ID)
		case timeline.RTORetransmission:
			d.rtos = append(d.rtos, p)
		case timeline.SYNACKAgain:
			d.synACKs = append(d.synACKs, p.ID)
		case timeline.ChallengeACK:
			d.challenge = append(d.challenge, p.ID)
		case timeline.RST:
			d.resets = append(d.resets, p.ID)
		}
	}
	if o := r.Outcome; o != nil && o.Seen != nil {
		d.ended, d.endedBy = o.Seen.Duration(), o.SeenErr
	}
	return d
}

// checksOfACKLoss are about what the schedule does not say: that the repeats are the same bytes, that the server never knew of them, that
// the end follows a time and not a count, and that the kernel's own RTO is the one that was computed.
func checksOfACKLoss(e Env, r *result.Result) []result.Check {
	b, err := ackLossInput(e)
	if err != nil {
		return nil // the prediction failed before
	}
	rtos, limit := b.Timers(e.Facts)
	d := findLostData(r)
	return []result.Check{sameBytes(d), unheard(d), byTime(d, limit), kernelRTO(r, d, rtos)}
}

func sameBytes(d lostData) result.Check {
	c := result.Check{ID: "same-bytes", Name: "same bytes each time", Expected: "1 sequence number, 1 length", Verdict: result.Pass}
	if d.first == nil || len(d.again) == 0 {
		c.Observed, c.Verdict, c.Detail = "no repeat", result.Skip, "nothing was repeated"
		return c
	}
	seen := map[[2]uint32]bool{}
	for _, p := range append(slices.Clone(d.again), *d.first) {
		seen[[2]uint32{p.Seq, uint32(p.Len)}] = true
	}
	c.Observed = c.Expected
	if len(seen) != 1 {
		c.Observed, c.Verdict, c.Code = fmt.Sprintf("%d different segments", len(seen)), result.Fail, explain.UnexpectedPacket
		c.Detail = "a repeat carried other bytes"
	}
	return c
}

func unheard(d lostData) result.Check {
	c := result.Check{ID: "unheard", Name: "the server never acknowledges them", Expected: "nothing", Observed: "nothing", Verdict: result.Pass}
	if d.first == nil {
		c.Observed, c.Verdict, c.Detail = "no data", result.Skip, "nothing was written"
		return c
	}
	for _, p := range d.answers {
		if p.RelAck > d.first.RelSeq {
			c.Observed, c.Verdict, c.Code = fmt.Sprintf("ACK %d", p.RelAck), result.Fail, explain.ServerAnswered
			c.Detail = fmt.Sprintf("packet %d acknowledges the data: they were not lost", p.ID)
			return c
		}
	}
	return c
}

// nearLimit is how near to the limit a fire of the timer may be seen on its wrong side: the kernel compares whole milliseconds at the
// moment when its handler runs, and what is seen comes a little later.
const nearLimit = 2 * time.Millisecond

func byTime(d lostData, limit time.Duration) result.Check {
	c := result.Check{ID: "time-limit", Name: "the end is a time, not a count", Verdict: result.Pass,
		Expected: fmt.Sprintf("%s or more after RTO 1", seconds(limit))}
	switch {
	case len(d.rtos) == 0:
		c.Observed, c.Verdict, c.Detail = "no RTO retransmission", result.Skip, "the limit counts from the first one"
		return c
	case d.ended == 0:
		c.Observed, c.Verdict, c.Detail = "no end", result.Skip, "the connection did not end while it was observed"
		return c
	}
	from, last := d.rtos[0].At(), d.rtos[len(d.rtos)-1].At()
	c.Observed = fmt.Sprintf("%s, the last repeat at %s", seconds(d.ended-from), seconds(last-from))
	switch {
	case d.ended-from < limit-nearLimit:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DiedEarly, "it ended before the limit"
	case last-from >= limit+nearLimit:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.DiedLate, "a repeat was sent after the limit"
	}
	return c
}

// kernelRTO compares the RTO that inet_diag showed when all round trips were measured and before the first repeat. Several are wanted where a link that is
// late by a millisecond makes another.
func kernelRTO(r *result.Result, d lostData, want []time.Duration) result.Check {
	var names []string
	for _, rto := range want {
		names = append(names, rto.String())
	}
	c := result.Check{ID: "rto", Name: "RTO by the kernel's own account", Expected: strings.Join(names, " / "), Observed: "not visible", Verdict: result.Skip,
		Detail: "no look fell between the write and the first repeat"}
	for _, s := range r.Samples {
		if s.Host != "client" || s.State != "ESTABLISHED" || s.RTO == 0 || s.Retrans > 0 || s.Backoff > 0 || d.first == nil || s.At.Duration() < d.measured {
			continue
		}
		c.Observed, c.Verdict, c.Detail = s.RTO.Duration().String(), result.Pass, ""
		if slices.Contains(want, s.RTO.Duration()) {
			continue
		}
		c.Verdict, c.Code = result.Fail, explain.HZDetection
		c.Detail = "the round trip was measured longer than the link's"
		for _, stall := range r.Stalls {
			if stall.At.Duration() < 200*time.Millisecond && stall.At.Duration()+stall.For.Duration() > -20*time.Millisecond {
				c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "the machine stalled while the round trip was measured"
			}
		}
		return c
	}
	return c
}

// storyOfACKLoss tells what each end believed, and how the program learnt the truth, counted from the packets.
func storyOfACKLoss(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	d := findLostData(r)
	tellHalfOpen(r, d, say)
	if d.first == nil {
		say(nil, "The client wrote nothing that a capture shows.")
		return story
	}
	say([]int{d.first.ID}, "%s after its first packet the client wrote %d bytes. write() had succeeded: the kernel took them, and that is all that it says.",
		seconds(d.first.At()), d.first.Len)
	tellRepeats(d, say)
	switch {
	case d.ended == 0:
		say(nil, "When the run ended, the program still waited and had heard of no error.")
	case d.endedBy != "":
		say(nil, "The program learnt it from read(), which returned %s %s after the write.", d.endedBy, seconds(d.ended-d.first.At()))
		if n := len(d.rtos); n > 0 {
			say([]int{d.rtos[0].ID}, "The limit is a time and counts from the first repeat by the retransmission timer: the end came %s after that, at a fire of the timer.",
				seconds(d.ended-d.rtos[0].At()))
		}
	default:
		say(nil, "The connection ended in another way %s after the write.", seconds(d.ended-d.first.At()))
	}
	if len(d.answers) == 0 && d.ended > 0 {
		say(nil, "No packet marks the end: nobody told the server.")
	}
	return story
}

func tellHalfOpen(r *result.Result, d lostData, say func([]int, string, ...any)) {
	for _, p := range r.Packets {
		if p.From == "client" && p.What == string(timeline.ACK) && p.Fate == result.Dropped {
			say([]int{p.ID}, "The third packet of the handshake reached the server's link and died in its INPUT chain: for the client the connection is open, for the server it is not.")
			break
		}
	}
	if len(d.synACKs) > 0 {
		say(d.synACKs, "The server sent its SYN-ACK again, %s, by its own timer.", times(len(d.synACKs)))
	}
	if len(d.challenge) > 0 {
		say(d.challenge, "The client answered %s with an ACK that says where it stands: an open connection has no use for a SYN-ACK. These answers died on the way, too.", times(len(d.challenge)))
	}
	for _, e := range r.Events {
		switch {
		case e.What != string(timeline.RequestGone) || e.Seen == nil:
		case len(d.resets) > 0:
			say(d.resets, "The next SYN-ACK came when the client's connection was gone, and was answered with a reset. It has no ACK flag, so no rule caught it: by %s the half-open connection was gone, too.", seconds(e.Seen.Duration()))
		default:
			say(nil, "By %s the server had forgotten the half-open connection, without a word.", seconds(e.Seen.Duration()))
		}
	}
}

func tellRepeats(d lostData, say func([]int, string, ...any)) {
	ids := make([]int, len(d.again))
	for i, p := range d.again {
		ids[i] = p.ID
	}
	if len(ids) == 0 {
		say(nil, "They were not repeated while it was observed.")
		return
	}
	say(ids, "The same bytes went out again %s: %s as a tail loss probe, %s by the retransmission timer.", times(len(ids)), count(len(d.probes)), count(len(d.rtos)))
	if len(d.rtos) > 1 {
		first, last := d.rtos[1].At()-d.rtos[0].At(), d.rtos[len(d.rtos)-1].At()-d.rtos[len(d.rtos)-2].At()
		switch {
		case len(d.rtos) > 2 && last > first+first/2:
			say(nil, "The waits between those by the timer grew from %s to %s.", seconds(first), seconds(last))
		case len(d.rtos) > 2:
			say(nil, "The waits between those by the timer did not double: %s at first and %s at last.", seconds(first), seconds(last))
		default:
			say(nil, "%s lay between the two by the timer.", seconds(first))
		}
	}
}
