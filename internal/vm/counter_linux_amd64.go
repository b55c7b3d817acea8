package vm

import "time"

// counter reads this machine's TSC. The one of a guest in real time is it, but for where it began.
func counter() uint64

// countFor is how long the counter is watched: a reading is off by some 50 ns, which is 1 ppm of it.
const countFor = 50 * time.Millisecond

// counterKHz is how often the counter counts, by this machine's clock; 0: as no processor's does, so that a guest had better find out by itself. The kernel's own
// way is to watch the PIT, which the engine is late to serve on a busy machine: then it has no clock, and never comes up.
func counterKHz() int64 {
	from, began := readCounter()
	<-time.After(countFor)
	to, ended := readCounter()
	khz := int64(float64(to-from) / ended.Sub(began).Seconds() / 1000)
	if khz < 100_000 || khz > 20_000_000 {
		return 0
	}
	return khz
}

// readCounter reads the counter and the clock at one moment: of several readings, that on which the least time was lost.
func readCounter() (n uint64, at time.Time) {
	least := time.Hour
	for range 20 {
		before := time.Now()
		c := counter()
		if took := time.Since(before); took < least {
			least, n, at = took, c, before.Add(took/2)
		}
	}
	return n, at
}
