package result

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Seconds is a duration that JSON shows as a number of seconds: 1.004213, to the nanosecond, never in exponent form.
type Seconds time.Duration

// Duration returns s as a time.Duration.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// MarshalJSON writes seconds with as many decimals as it takes, at most nine.
func (s Seconds) MarshalJSON() ([]byte, error) {
	b, u := make([]byte, 0, 24), uint64(s)
	if s < 0 {
		b, u = append(b, '-'), -u
	}
	b = strconv.AppendUint(b, u/1e9, 10)
	frac := u % 1e9
	if frac == 0 {
		return b, nil
	}
	b = append(b, '.')
	for unit := uint64(1e8); frac > 0; unit /= 10 { // by hand: a result has thousands, and fmt took most of the time that it takes to write one
		b = append(b, '0'+byte(frac/unit))
		frac %= unit
	}
	return b, nil
}

// UnmarshalJSON reads a number of seconds, exact to the nanosecond and rounded half up beyond it. Numbers outside the range of
// time.Duration (about 292 years) are an error.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	whole, frac, exp, ok := number(strings.TrimPrefix(string(b), "-"))
	if !ok {
		return fmt.Errorf("seconds %q: want a number", b)
	}
	// The digits without leading zeros, and how many of them are whole nanoseconds. A float64 would lose them after 104 days.
	all := whole + frac
	digits := strings.TrimLeft(all, "0")
	n := len(whole) + exp + 9 - (len(all) - len(digits))
	limit, negative := uint64(math.MaxInt64), b[0] == '-'
	if negative {
		limit++
	}
	ns, err := nanoseconds(digits, n)
	if err != nil || ns > limit {
		return fmt.Errorf("seconds %q: outside ±292 years", b)
	}
	if negative {
		ns = -ns
	}
	*s = Seconds(ns)
	return nil
}

// nanoseconds is the value of the first n of digits, padded with zeros or rounded half up.
func nanoseconds(digits string, n int) (uint64, error) {
	switch {
	case digits == "" || n < 0:
		return 0, nil
	case n > 19: // 2^63 has 19
		return 0, strconv.ErrRange
	}
	padded := digits + strings.Repeat("0", max(n+1-len(digits), 0))
	up := uint64(0)
	if padded[n] >= '5' {
		up = 1
	}
	if n == 0 {
		return up, nil
	}
	ns, err := strconv.ParseUint(padded[:n], 10, 64)
	return ns + up, err
}

// number takes a JSON number without its sign apart. An exponent so large that it leaves the range anyway is cut.
func number(s string) (whole, frac string, exp int, ok bool) {
	mantissa, exponent := s, ""
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		mantissa, exponent = s[:i], s[i+1:]
		sign := 1
		if strings.HasPrefix(exponent, "-") {
			sign = -1
		}
		exponent = strings.TrimLeft(exponent, "+-")
		if !digits(exponent) || len(s)-i-1-len(exponent) > 1 {
			return "", "", 0, false
		}
		v, err := strconv.Atoi(exponent)
		if err != nil {
			v = math.MaxInt32
		}
		exp = sign * min(v, math.MaxInt32)
	}
	whole, frac, point := strings.Cut(mantissa, ".")
	return whole, frac, exp, digits(whole) && (!point || digits(frac))
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
