package oracle

import (
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

// LatestFire is the last instant at which a timer of d can fire, from when it is armed, over every phase of jiffies: d in whole jiffies, and
// a bucket of the level that it lies in (calc_index). The first instant is d itself.
func LatestFire(f kernel.Facts, d time.Duration) time.Duration {
	n := ceilJiffies(f, d)
	var last uint64
	for j := range period(f, uint64(n)) {
		_, hi := Fire(f, j, uint64(n))
		last = max(last, hi-j)
	}
	return time.Duration(int64(last) * f.Jiffy().Nanoseconds())
}
