package oracle

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

const requestTimeoutMax = rtoMax // TCP_RTO_MAX: the request timer's, whatever tcp_rto_max_ms says (up to 6.18)

// requestStart is TCP_TIMEOUT_INIT, the first value of the request timer.
func requestStart(f kernel.Facts) time.Duration { return f.InitialRTO }

// longest is the longest delay of the request timer, in jiffies.
func (s Server) longest(f kernel.Facts) int64 {
	return ceilJiffies(f, min(requestStart(f)<<min(s.SYNACKRetries, 20), requestTimeoutMax))
}

func (s Server) validate(f kernel.Facts) error {
	switch {
	case s.SYNACKRetries < 0 || s.SYNACKRetries > 255:
		return fmt.Errorf("listen: tcp_synack_retries=%d: the kernel takes 0..255", s.SYNACKRetries)
	case s.InvalidRatelimit < 0:
		return fmt.Errorf("listen: tcp_invalid_ratelimit of %v: want 0 ms or more", s.InvalidRatelimit)
	case !f.Version.AtLeast(4, 1):
		// Before, one timer of the listener looked at a part of its table every 200 ms (inet_csk_reqsk_queue_prune).
		return fmt.Errorf("listen: kernel %v has no timer for each half-open connection (since 4.1), which is not modelled", f.Version)
	}
	return nil
}

// request is a half-open connection at the server in one world: a request socket and its timer (reqsk_timer_handler).
type request struct {
	server       Server
	w            *world
	armed        int64         // the jiffy in which its timer fires; 0: there is no request
	numTimeout   int           // num_timeout: fires of the timer
	nominalFire  time.Duration // of the timer, by the formula
	nominalStart time.Duration
}

// timeout is tcp_reqsk_timeout.
func (r *request) timeout() time.Duration {
	return min(requestStart(r.w.facts)<<min(r.numTimeout, 30), requestTimeoutMax)
}

// arm starts the timer with its present value.
func (r *request) arm(at int64, nominal time.Duration) {
	r.armed = r.w.fire(at, r.w.toJiffies(r.timeout()))
	r.nominalStart, r.nominalFire = nominal, nominal+r.timeout()
}

// dies reports whether the coming fire of the timer removes the request.
func (r *request) dies() bool {
	return r.numTimeout >= r.server.SYNACKRetries || r.server.Silent
}
