package judge

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/timeline"
)

const (
	// starvedOf: where in three quarters of a run or more some task waited for a processor (the kernel's own count, "some" of /proc/pressure/cpu), any
	// program may have been the one that did. One run beside nothing is below a quarter.
	starvedOf = 4
	// starvedLate is how late a program may be on such a machine: 1.2 s were seen where something waited in 11.2 s of 11.7. What is later is not explained
	// by it: of an end, it would be the next step of its timer.
	starvedLate = 2 * time.Second
)

// starved says how short of processors the machine was, where that explains that a program was so late: it cannot have waited longer than all together
// did. Empty: it does not, or nobody knows. What a hypervisor took (steal) is not asked: the watchers stood still with it, so it is a stall on record.
func (j *judgement) starved(late time.Duration) string {
	l := j.Load
	if l == nil || l.Waited == nil {
		return ""
	}
	waited, over := l.Waited.Duration(), l.Over.Duration()
	if waited < over-over/starvedOf || late > min(waited, starvedLate) {
		return ""
	}
	return fmt.Sprintf("in %s of %s something waited for a processor", seconds(waited), seconds(over))
}

// deferred says why the gap behind a timer's event may be too short by so much, where no processor stood still: that event came a jiffy or two late within
// its window, and the next one in its time. Seen once, at a load of 8 and without a record of the wheel's, 80 us beyond what the allowance leaves. A suspicion, not traced: softirqs that are
// many go to a thread (ksoftirqd, wakeup_softirqd in __do_softirq), which waits for a processor like any other, while the watchers have theirs. Empty: it may not.
func (j *judgement) deferred(by time.Duration) string {
	starved := j.starved(by)
	if starved == "" || by > j.Jiffy {
		return ""
	}
	return fmt.Sprintf("the gap is %s too short, as behind a timer that has to wait: %s", short(by), starved)
}

// told reports whether it is a program that an event comes from or that learns of it, also of what a timer did.
func told(want *timeline.Event) bool { return byProgram(want) || !want.What.OnWire() }

// behind is how late an event was seen.
func behind(p *pair, e *result.Event) time.Duration {
	if e.OffTick != nil {
		return off(e)
	}
	return p.got.At - p.want.Latest
}

func hadToWait(late time.Duration, starved string) string {
	return fmt.Sprintf("%s late, as a program may be that has to wait: %s", short(late), starved)
}

// opening is how long the call that sent the first packet went on behind it, where that was longer than a jiffy: time counts from the packet, and the timers from
// some moment of the call, as if the whole run had begun so much later. 0: it was not longer. Seen once in 1000 runs of exp1: both processors stood still for 12 ms
// between the SYN and the timer that was armed for it, and the repeat came 0.8 ms later than a window of every phase allows.
func (j *judgement) opening(port uint16) time.Duration {
	for _, c := range j.Calls {
		if c.Port == port && c.Before <= 0 && c.After > j.Jiffy {
			return c.After
		}
	}
	return 0
}

// calledOn says that a call which began before a packet may have armed its timer late.
func calledOn(late, on time.Duration) string {
	return fmt.Sprintf("%s late, and the call that sent the packet before it went on for %s: its timer may have started as late", short(late), short(on))
}

// calling is how long the call that sent a packet went on behind it, where that was longer than a jiffy; 0: it was not, or a timer sent it.
func (j *judgement) calling(p *pair) time.Duration {
	family := p.got.What.Family()
	if p.got.What.Again() || family != timeline.SYN && family != timeline.Data && family != timeline.FIN {
		return 0
	}
	for _, c := range j.Calls {
		if on := c.After - p.got.At; c.Port == p.port() && c.Before <= p.got.At && on > j.Jiffy {
			return on
		}
	}
	return 0
}
