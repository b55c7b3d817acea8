package experiments

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// storyOfRecovery tells the repair from the packets.
func storyOfRecovery(r *result.Result) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	var burst, dropped, droppedAgain, dups, blocks []int
	var again []result.Packet
	var gone, goneAgain []string
	for _, p := range r.Packets {
		switch {
		case p.From == "client" && p.Len > 0 && !timeline.What(p.What).Again():
			burst = append(burst, p.ID)
			if p.Fate == result.Dropped {
				dropped, gone = append(dropped, p.ID), append(gone, segment(p))
			}
		case p.From == "client" && p.Len > 0:
			again = append(again, p)
			if p.Fate == result.Dropped {
				droppedAgain, goneAgain = append(droppedAgain, p.ID), append(goneAgain, segment(p))
			}
		case p.What == string(timeline.DuplicateACK):
			dups = append(dups, p.ID)
			if len(p.SACK) > 0 {
				blocks = append(blocks, p.ID)
			}
		}
	}
	say(burst, "The client wrote once, and %d segments left in one burst.", len(burst))
	story = append(story, toldLink(r)...)
	switch len(gone) {
	case 0:
		say(nil, "All of them arrived.")
	case 1:
		say(dropped, "Segment %s reached the server's link and died in its INPUT chain.", gone[0])
	default:
		say(dropped, "Segments %s reached the server's link and died in its INPUT chain.", listed(gone))
	}
	switch {
	case len(dups) == 0 && len(gone) > 0:
		say(nil, "Nothing told the client: no segment came behind the last hole, so the server had no reason to speak before its timer, or the client's.")
	case len(blocks) == len(dups) && len(dups) > 0:
		say(dups, "The server repeated its last acknowledgement %s, when something came that was not what it waited for, and said with SACK what it had.", times(len(dups)))
	case len(blocks) == 0 && len(dups) > 0:
		say(dups, "The server repeated its last acknowledgement %s, when something came that was not what it waited for. Without SACK they are all the same: they say that something is missing, and not what else.", times(len(dups)))
	}
	story = append(story, toldAgain(again, gone)...)
	if len(goneAgain) > 0 {
		say(droppedAgain, "Of those repeats some were lost too: segment %s.", listed(goneAgain))
	}
	for _, c := range r.Checks {
		if c.ID == "recovery-rtts" && c.Verdict == result.Pass && len(again) > 0 {
			say(nil, "From the first repeat to the acknowledgement of everything it took this many round trips: %s.", c.Observed)
		}
	}
	return story
}

// toldLink tells what the link did to the burst besides its delay.
func toldLink(r *result.Result) []result.Sentence {
	var story []result.Sentence
	if r.Link == nil {
		return nil
	}
	var first, last, soonest time.Duration
	var overtaken []int
	var names []string
	for _, p := range r.Packets {
		if p.From != "client" || p.Len == 0 || p.SentAt == nil || p.ArrivedAt == nil {
			continue
		}
		if first == 0 {
			first = p.ArrivedAt.Duration()
		}
		if !timeline.What(p.What).Again() {
			last = max(last, p.ArrivedAt.Duration())
		}
	}
	for i := len(r.Packets) - 1; i >= 0; i-- { // from the last one on: the first arrival of what left later
		p := r.Packets[i]
		if p.From != "client" || p.Len == 0 || p.ArrivedAt == nil {
			continue
		}
		if soonest > 0 && p.ArrivedAt.Duration() > soonest {
			overtaken, names = append(overtaken, p.ID), append(names, segment(p))
		}
		if soonest == 0 || p.ArrivedAt.Duration() < soonest {
			soonest = p.ArrivedAt.Duration()
		}
	}
	slices.Reverse(overtaken)
	slices.Reverse(names)
	if r.Link.Rate > 0 {
		story = append(story, result.Sentence{Text: fmt.Sprintf("The link carried %s to the server, so the burst took %s to arrive.", plainRate(r.Link.Rate), ms(last-first))})
	}
	switch {
	case len(names) > 0:
		story = append(story, result.Sentence{Packets: overtaken, Text: fmt.Sprintf("The link held some segments back, and others overtook them: segment %s.", listed(names))})
	case len(r.Link.Hold) > 0:
		story = append(story, result.Sentence{Text: fmt.Sprintf("The link held each segment back for another time, up to %s, and kept their order.", ms(slices.Max(r.Link.Hold).Duration()))})
	}
	return story
}

// toldAgain tells what was sent again and why, and how much of it for nothing.
func toldAgain(again []result.Packet, gone []string) []result.Sentence {
	var story []result.Sentence
	say := func(packets []int, format string, a ...any) {
		story = append(story, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	for _, what := range []timeline.What{timeline.FastRetransmit, timeline.TailLossProbe, timeline.RTORetransmission, timeline.DataAgain} {
		var ids []int
		var names []string
		for _, p := range again {
			if p.What == string(what) {
				ids, names = append(ids, p.ID), append(names, segment(p))
			}
		}
		if len(ids) > 0 {
			say(ids, howAgain[what], listed(names))
		}
	}
	needless := 0
	for _, p := range again {
		if !slices.Contains(gone, segment(p)) {
			needless++
		}
	}
	if needless > 0 {
		say(nil, "Of %d repeats %d were needless: those segments had arrived.", len(again), needless)
	}
	return story
}

var howAgain = map[timeline.What]string{
	timeline.FastRetransmit:    "On the word of those acknowledgements, long before any timeout, the client sent again: segment %s.",
	timeline.TailLossProbe:     "After two round trips of silence, or the time of its timer where one segment was out, the client probed with the last segment: %s.",
	timeline.RTORetransmission: "Its retransmission timer ran out. Then it sent the first segment that was not acknowledged again: %s.",
	timeline.DataAgain:         "After that all the rest counted as lost, and the acknowledgements let it out again: segment %s.",
}

// segment is a packet's place in the burst.
func segment(p result.Packet) string { return fmt.Sprint((p.RelSeq-1)/burstSize + 1) }

// listed writes "15", "15 and 19", "1, 2 and 3".
func listed(s []string) string {
	if len(s) < 2 {
		return strings.Join(s, "")
	}
	return strings.Join(s[:len(s)-1], ", ") + " and " + s[len(s)-1]
}
