package spec

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// story tells what happened, by the packets alone: the file's author knows what they wanted to see.
func (f *File) story(r *result.Result) []result.Sentence {
	var out []result.Sentence
	say := func(packets []int, format string, a ...any) {
		out = append(out, result.Sentence{Text: fmt.Sprintf(format, a...), Packets: packets})
	}
	var lost []int
	again := map[timeline.What][]int{}
	for _, p := range r.Packets {
		if p.Fate != result.Delivered {
			lost = append(lost, p.ID)
		}
		if what := timeline.What(p.What); what.Again() {
			again[what] = append(again[what], p.ID)
		}
	}
	say(lost, "The captures show %d packets; %d of them never reached the other end's TCP.", len(r.Packets), len(lost))
	for _, w := range slices.Sorted(maps.Keys(again)) {
		say(again[w], "Sent again (%s): %d.", w.Words(), len(again[w]))
	}
	switch o := r.Outcome; {
	case o == nil || o.Seen == nil:
	case o.SeenErr != "":
		say(nil, "After %s the client's call failed with %s.", plain(o.Seen.Duration()), o.SeenErr)
	default:
		say(nil, "After %s the client's call returned.", plain(o.Seen.Duration()))
	}
	return out
}

func plain(d time.Duration) string { return fmt.Sprintf("%.3f s", d.Seconds()) }
