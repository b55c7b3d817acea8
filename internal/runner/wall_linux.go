package runner

import (
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

// wallClock is CLOCK_REALTIME less CLOCK_MONOTONIC. The two move together, but for a step of the former.
type wallClock struct{ offset time.Duration }

// readWall measures the offset between two reads of CLOCK_MONOTONIC, and keeps the tightest of several tries.
func readWall() (wallClock, error) {
	var best wallClock
	tightest := time.Duration(1<<63 - 1)
	for range 16 {
		a, err := kernel.MonotonicNow()
		if err != nil {
			return wallClock{}, err
		}
		wall := time.Now()
		b, err := kernel.MonotonicNow()
		if err != nil {
			return wallClock{}, err
		}
		if b-a < tightest {
			tightest, best = b-a, wallClock{time.Duration(wall.UnixNano()) - (a+b)/2}
		}
	}
	return best, nil
}

// mono is the CLOCK_MONOTONIC time of a packet's stamp.
func (w wallClock) mono(t time.Time) time.Duration { return time.Duration(t.UnixNano()) - w.offset }
