package stall

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Load is how much this machine was short of processors since it booted, as the kernel counts it. It stands beside the watcher: it is no
// proof that a timer was late, and the watcher does not say why one was.
type Load struct {
	// Waited is the time in which some task waited for a processor: "some" of /proc/pressure/cpu; negative: this kernel does not count it.
	Waited time.Duration
	// Stolen is the time that a hypervisor gave to others, summed over the processors: "steal" of /proc/stat, in hundredths of a second.
	Stolen time.Duration
}

// ReadLoad reads both. What cannot be read is negative.
func ReadLoad() Load {
	l := Load{Waited: -1, Stolen: -1}
	if b, err := os.ReadFile("/proc/pressure/cpu"); err == nil {
		if d, err := waited(b); err == nil {
			l.Waited = d
		}
	}
	if b, err := os.ReadFile("/proc/stat"); err == nil {
		if d, err := stolen(b); err == nil {
			l.Stolen = d
		}
	}
	return l
}

// Since is what came in addition.
func (l Load) Since(before Load) Load {
	less := func(a, b time.Duration) time.Duration {
		if a < 0 || b < 0 || a < b {
			return -1
		}
		return a - b
	}
	return Load{less(l.Waited, before.Waited), less(l.Stolen, before.Stolen)}
}

// waited reads /proc/pressure/cpu: "some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS" (psi_show, kernel/sched/psi.c).
func waited(b []byte) (time.Duration, error) {
	for line := range strings.Lines(string(b)) {
		if !strings.HasPrefix(line, "some ") {
			continue
		}
		_, total, ok := strings.Cut(strings.TrimSpace(line), "total=")
		n, err := strconv.ParseInt(total, 10, 64)
		if !ok || err != nil || n < 0 || n > int64(1<<63-1)/int64(time.Microsecond) {
			return 0, fmt.Errorf("line %q: want total=MICROSECONDS", line)
		}
		return time.Duration(n) * time.Microsecond, nil
	}
	return 0, fmt.Errorf(`want a line that begins with "some "`)
}

// stolen reads /proc/stat: the eighth number of the line "cpu", in units of USER_HZ, which is 100 (show_stat, fs/proc/stat.c).
func stolen(b []byte) (time.Duration, error) {
	line, _, err := bufio.NewReader(bytes.NewReader(b)).ReadLine()
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(line))
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("line %q: want cpu and eight numbers", line)
	}
	n, err := strconv.ParseInt(f[8], 10, 64)
	if err != nil || n < 0 || n > int64(1<<63-1)/int64(10*time.Millisecond) {
		return 0, fmt.Errorf("line %q: want a count of hundredths", line)
	}
	return time.Duration(n) * 10 * time.Millisecond, nil
}
