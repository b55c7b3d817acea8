package experiments

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/sysctl"
)

// Under is the value under a profile where no flag gives one; "" where it is left alone: a knob to the kernel, an option not given.
func (q Param) Under(p Profile) string { return q.profileValue(p) }

// Takes says in words which values are accepted: "1 to 127", "20ms to 2s", "on or off", "1 to 100 with commas between, or last".
func (q Param) Takes() string {
	if q.Sysctl != "" {
		k, _ := sysctl.Lookup(q.Sysctl) // a test walks all parameters
		return k.Range()
	}
	span := ""
	switch q.Kind {
	case Choice:
		return or(q.Choices)
	case Time:
		span = fmt.Sprintf("%s to %s", plainTime(q.Min), plainTime(q.Max))
	case Percent:
		span = fmt.Sprintf("%d to %d percent", q.Min, q.Max)
	case Rate:
		span = fmt.Sprintf("%s to %s", plainRate(q.Min), plainRate(q.Max))
	case List:
		span = fmt.Sprintf("%d to %d with commas between", q.Min, q.Max)
	default:
		span = fmt.Sprintf("%d to %d", q.Min, q.Max)
	}
	return span + orWords(q.Choices)
}

// plainTime is a number of nanoseconds as a duration without zeros at its end: "2h", not "2h0m0s".
func plainTime(ns int64) string {
	s := time.Duration(ns).String()
	s = strings.TrimSuffix(s, "m0s")
	if len(s) < len(time.Duration(ns).String()) {
		s += "m"
	}
	return strings.TrimSuffix(strings.Replace(s+"\x00", "h0m\x00", "h\x00", 1), "\x00")
}
