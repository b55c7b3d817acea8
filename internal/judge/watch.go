package judge

import (
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/timeline"
)

// LivesOn says from when on nobody watches a connection any more that goes on when its program has waited for long enough, and of which nothing is
// predicted from there on; ok is false where there is no such moment. How long the run itself takes to end is the machine's.
func LivesOn(want timeline.Timeline, ended *timeline.Event) (over time.Duration, ok bool) {
	if want.Outcome == nil || want.Outcome.What != timeline.Quiet || ended == nil || ended.What != timeline.Quiet {
		return 0, false
	}
	more := slices.ContainsFunc(want.Events, func(e timeline.Event) bool { return e.At > want.Outcome.At })
	return ended.At, !more
}

// unwatched reports whether a packet that nobody predicted came when nobody watched any more.
func (in Input) unwatched(p pair) bool {
	over, ok := LivesOn(in.Want, in.Got.Outcome)
	return ok && p.want == nil && p.got.What.OnWire() && p.got.At > over
}
