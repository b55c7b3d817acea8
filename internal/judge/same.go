package judge

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

// family names the host and the family of a pair, in one connection.
func (p pair) family() string {
	e := p.want
	if e == nil {
		e = p.got
	}
	return fmt.Sprintf("%s %s %d", e.Host, e.What.Family(), e.Port)
}

// counted reports whether both sides number the events of a kind alike: repeats by a timer, and probes. Duplicate ACKs may be merged.
func counted(w timeline.What) bool {
	return w.Again() || w == timeline.KeepaliveProbe || w == timeline.WindowProbe
}

// same judges that an event that came in its time is the one that was expected.
func (j *judgement) same(c *result.Check, p *pair) {
	switch {
	case c.Verdict == result.Fail:
	case p.want.What != p.got.What:
		c.Verdict, c.Code = result.Fail, explain.UnexpectedPacket
		c.Detail = fmt.Sprintf("it is a %s, not a %s", p.got.What, p.want.What)
	case p.want.Errno != p.got.Errno:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.WrongErrno, fmt.Sprintf("it is %s, not %s", p.got.Errno, p.want.Errno)
	case p.want.N != p.got.N && counted(p.want.What) && !j.alone[p.family()]:
		c.Verdict, c.Code = result.Fail, explain.UnexpectedPacket
		c.Detail = fmt.Sprintf("it is number %d of its kind, not %d", p.got.N, p.want.N)
	case p.want.Exact:
		if d := otherBytes(p.want, p.got); d != "" {
			c.Verdict, c.Code, c.Detail = result.Fail, explain.UnexpectedPacket, "it carries "+d
		}
	}
}

// between judges the end of a state that only looks can show: it came between two of them, and one instant between must be right. Where the
// phase of jiffies was known, that is its tick.
func (j *judgement) between(c *result.Check, p *pair) {
	c.Observed = fmt.Sprintf("between %.3f and %.3f s", p.got.Since.Seconds(), p.got.At.Seconds())
	b := p.want.Bound
	first, last := b.Earliest, b.Latest
	exact := j.JiffyStart != nil && b.Tick > 0
	if exact {
		first = *j.JiffyStart + time.Duration(b.Tick)*j.Jiffy + b.After - j.ClockError
		last = first + spread(b, j.Jiffy) + 2*j.ClockError
	}
	inWindow := p.got.At >= b.Earliest && p.got.Since <= b.Latest+Allowance(j.Jiffy)
	late := p.got.Since > last+Allowance(j.Jiffy)
	switch {
	case exact && inWindow && (p.got.At < first || late) && j.stalledAtStart():
		c.Verdict, c.Code = result.Inconclusive, explain.Stall
		c.Detail = "off its tick, and the machine stalled while the first packet was sent: the jiffy that its timer counted from is not certain"
	case p.got.At < first:
		c.Verdict, c.Code, c.Detail = result.Fail, explain.TooEarly, "it was over before its time"
	case late && !j.excused(b, last, p.got.Since):
		c.Verdict, c.Code, c.Detail = result.Fail, explain.TooLate, "it was still there after its time"
	case late:
		c.Verdict, c.Code, c.Detail = result.Inconclusive, explain.Stall, "it was still there after its time, and the machine had stalled"
	default:
		// It may have been at its time, or long before or after: where nobody looked for long, neither is shown.
		blind := max(first-p.got.Since, 0) + max(p.got.At-last-Allowance(j.Jiffy), 0)
		if blind > max(unlooked, (b.Latest-b.Earliest)/2) {
			c.Verdict, c.Code = result.Inconclusive, explain.Stall
			c.Detail = fmt.Sprintf("nobody looked for %s, so it may have been at another time than predicted", short(p.got.At-p.got.Since))
		}
	}
	if j.proved = j.onTime(b); j.proved && c.Verdict == result.Inconclusive {
		c.Verdict, c.Code = result.Pass, explain.OnTheWheel
		c.Detail = "its timer fired between the two looks, and the kernel's timer wheel had it due in the predicted jiffy"
	}
}

// unlooked is for how long beside its window a state may go without a look that is to show its end. Looks come every few milliseconds there.
const unlooked = 40 * time.Millisecond
