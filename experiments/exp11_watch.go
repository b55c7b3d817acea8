package experiments

import (
	"cmp"
	"time"

	"github.com/tcplab/tcplab/internal/oracle"
)

// watchTimeouts is how long a connection is watched of which its program is never told: until all others have ended, however late the timer wheel
// is, and longer than it would take in the state next to it: with keepalive, or with a peer that does not answer the window probes.
func watchTimeouts(e Env) (time.Duration, error) {
	watch := 2 * leastIdle
	for _, one := range entries(e.Options) {
		d, err := one.lasts(e)
		if err != nil {
			return 0, err
		}
		watch = max(watch, d)
	}
	return e.Whole(watch + 10*e.Options.longestTrip()), nil // an RTO is up to 3 RTTs, and the first repeats wait for it twice or three times
}

// lasts is a time from connect(2) by which a connection has ended, or would have in the state next to its own.
func (s standing) lasts(e Env) (time.Duration, error) {
	switch s.is {
	case plightConnect:
		c, err := connectInput(e.as(nil))
		most := cmp.Or(c.RTOMax, oracle.RTOMax)
		return (time.Duration(c.LinearTimeouts)*time.Second + oracle.Model(c.SYNRetries, time.Second, most)) * 8 / 7, err
	case plightHalfOpen:
		server, err := serverInput(e)
		return oracle.Model(server.SYNACKRetries, time.Second, oracle.RTOMax) * 8 / 7, err
	case plightIdle:
		k, err := keepaliveInput(e.as(standing{keep: true}.options(e.Options)))
		k.Off = true
		return watchFor(k, 0), err
	case plightShutdown, plightClose:
		c, err := finLossRules(e.as(nil))
		if s.is == plightClose {
			return repeatsFor(c.Client.Orphan(), c.Client.RTOMax), err
		}
		return repeatsFor(c.Client.Retries2, c.Client.RTOMax), err
	}
	z, err := zeroWindowInput(e.as(Options{"peer": "gone", "drain-at": never}))
	return repeatsFor(z.Retries2, z.RTOMax), err
}

// repeatsFor is a time from connect(2) by which data, a FIN or window probes have been repeated for so many retries.
func repeatsFor(retries int, most time.Duration) time.Duration {
	most = cmp.Or(most, oracle.RTOMax)
	d := oracle.Model(retries, oracle.RTOMin, most)
	d += min(d, most) // the last wait
	return silenceFrom(nil) + d*8/7 + 750*time.Millisecond
}
