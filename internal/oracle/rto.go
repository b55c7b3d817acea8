package oracle

import (
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

// rtoMin is TCP_RTO_MIN, HZ/5 jiffies: the default floor under the variance, and the base of what tcp_retries2 means, whatever the floor.
func rtoMin(f kernel.Facts) int64 { return int64(f.HZ) / 5 }

// fallbackRTO is TCP_TIMEOUT_FALLBACK: the RTO after a handshake that gave no sample (tcp_init_metrics).
const fallbackRTO = 3 * time.Second

// linkOverhead is how much longer than the link's time a round trip takes, at least: two hosts handle it. So a sample is never a whole
// number of jiffies, and the sum of it and 200 ms is rounded up.
const linkOverhead = 50 * time.Microsecond

// estimator is the round trip estimator of one connection: tcp_rtt_estimator and __tcp_set_rto in net/ipv4/tcp_input.c. Since 3.15 it
// counts microseconds, before that jiffies.
type estimator struct {
	facts    kernel.Facts
	floor    int64 // tcp_rto_min_us(): in microseconds, a whole number of jiffies
	jiffies  bool  // the unit is a jiffy
	srtt     int64 // eighths of the unit; 0: no sample yet
	mdev     int64 // quarters
	mdevMax  int64
	rttvar   int64
	fallback bool // the handshake was over without a sample
}

// newEstimator makes the estimator of a connection whose floor is min; 0 stands for TCP_RTO_MIN.
func newEstimator(f kernel.Facts, floor time.Duration) *estimator {
	j := rtoMin(f)
	if floor > 0 {
		j = ceilJiffies(f, floor) // tcp_init_sock: usecs_to_jiffies(tcp_rto_min_us)
	}
	e := &estimator{facts: f, jiffies: !f.Version.AtLeast(3, 15)}
	e.floor = e.units(j)
	return e
}

// units turns jiffies into the estimator's unit: jiffies_to_usecs.
func (e *estimator) units(j int64) int64 {
	if e.jiffies {
		return j
	}
	return j * 1_000_000 / int64(e.facts.HZ)
}

// sample takes a round trip time in. Each is of data that was sent after the sample before was taken.
func (e *estimator) sample(rtt time.Duration) {
	m := max(rtt.Microseconds(), 1)
	if e.jiffies {
		m = max(int64(rtt/e.facts.Jiffy()), 1)
	}
	if e.srtt == 0 {
		e.srtt, e.mdev = m<<3, m<<1
		e.rttvar = max(e.mdev, e.floor)
		e.mdevMax = e.rttvar
		return
	}
	d := m - e.srtt>>3
	e.srtt = max(e.srtt+d, 1)
	if d < 0 {
		if d = -d - e.mdev>>2; d > 0 {
			d >>= 3 // an unexpectedly short sample must not raise the variance
		}
	} else {
		d -= e.mdev >> 2
	}
	e.mdev += d
	if e.mdev > e.mdevMax {
		e.mdevMax = e.mdev
		e.rttvar = max(e.rttvar, e.mdevMax)
	}
	if e.mdevMax < e.rttvar {
		e.rttvar -= (e.rttvar - e.mdevMax) >> 2
	}
	e.mdevMax = e.floor
}

// handshakeOver is tcp_init_metrics without a cached entry.
func (e *estimator) handshakeOver() { e.fallback = e.srtt == 0 }

// rto is the retransmission timeout in jiffies, cut to most.
func (e *estimator) rto(most int64) int64 {
	if e.srtt == 0 {
		start := e.facts.InitialRTO
		if e.fallback {
			start = fallbackRTO
		}
		return min(ceilJiffies(e.facts, start), most)
	}
	return min(e.toJiffies(e.srtt>>3+e.rttvar), most)
}

// toJiffies rounds a time in the estimator's unit up.
func (e *estimator) toJiffies(v int64) int64 {
	if e.jiffies {
		return v
	}
	return ceilJiffies(e.facts, time.Duration(v)*time.Microsecond)
}

// probe is the probe timeout in jiffies with one segment in flight: tcp_schedule_loss_probe, before it is cut to the RTO.
func (e *estimator) probe() int64 {
	hz := int64(e.facts.HZ)
	twice := e.srtt >> 2
	switch {
	case e.srtt == 0:
		return ceilJiffies(e.facts, e.facts.InitialRTO) // TCP_TIMEOUT_INIT
	case e.facts.Version.AtLeast(6, 6): // and late 6.1.y; the sum is rounded, and the floor is the connection's own
		return e.toJiffies(twice + e.floor)
	case e.facts.Version.AtLeast(4, 14):
		return e.toJiffies(twice) + rtoMin(e.facts)
	}
	rtt := max(e.toJiffies(e.srtt>>3), 1)
	return max(2*rtt, rtt+rtt/2+hz/5, ceilJiffies(e.facts, 10*time.Millisecond)) // TCP_DELACK_MAX is HZ/5
}
