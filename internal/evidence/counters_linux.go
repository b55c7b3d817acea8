package evidence

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Counters are a namespace's counters by the names that nstat(8) uses: "TcpRetransSegs", "TcpExtTCPTimeouts".
type Counters map[string]uint64

// ReadCounters reads the counters of the calling thread's namespace. They are unsigned and wrap; a few are no counters but limits (TcpRtoMin),
// which Since leaves away because they do not change.
func ReadCounters() (Counters, error) {
	c := Counters{}
	for _, file := range []string{"snmp", "netstat"} {
		// /proc/net would be that of the main thread.
		b, err := os.ReadFile("/proc/thread-self/net/" + file)
		if err != nil {
			return nil, fmt.Errorf("counters: %w", err)
		}
		if err := c.parse(bytes.NewReader(b)); err != nil {
			return nil, fmt.Errorf("counters: %s: %w", file, err)
		}
	}
	return c, nil
}

// parse reads pairs of lines, "Tcp: Name Name ..." and "Tcp: 1 2 ...".
func (c Counters) parse(r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		group, names, ok := strings.Cut(lines.Text(), ":")
		if !ok {
			return fmt.Errorf("line %q: want a group", lines.Text())
		}
		if !lines.Scan() {
			return fmt.Errorf("group %s: no values", group)
		}
		again, values, _ := strings.Cut(lines.Text(), ":")
		n, v := strings.Fields(names), strings.Fields(values)
		if again != group || len(n) != len(v) {
			return fmt.Errorf("group %s: %d names and %d values of %s", group, len(n), len(v), again)
		}
		for i := range n {
			x, err := strconv.ParseInt(v[i], 10, 64) // TcpMaxConn is -1
			if err != nil {
				u, uerr := strconv.ParseUint(v[i], 10, 64)
				if uerr != nil {
					return fmt.Errorf("%s%s: %w", group, n[i], err)
				}
				x = int64(u)
			}
			c[group+n[i]] = uint64(x)
		}
	}
	return lines.Err()
}

// Since returns what was added after before, without what did not change.
func (c Counters) Since(before Counters) Counters {
	d := Counters{}
	for name, v := range c {
		if v != before[name] {
			d[name] = v - before[name]
		}
	}
	return d
}
