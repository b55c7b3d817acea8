//go:build lab

package doctest

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/labtest"
)

const shown = "sudo tcplab run exp1-syn-loss --syn-retries=2"

// TestReadmeRun runs the command that README.md begins with, on this kernel, and catches output there that the program no longer prints:
// another ladder, another check. Numbers are this machine's and are not compared.
func TestReadmeRun(t *testing.T) {
	labtest.Need(t, labtest.Root, labtest.IPTables)
	t.Parallel()
	want := readmeOutput(t)
	var output string
	exit := explain.ExitInconclusive
	for i := 0; i < 3 && exit == explain.ExitInconclusive; i++ { // a stall changes what the table says
		output, exit = tcplab(t, Words(strings.TrimPrefix(shown, "sudo tcplab "))...)
	}
	if exit != explain.ExitPass && exit != explain.ExitInconclusive {
		t.Fatalf("%s: got exit code %d, want 0, or 5 where the machine stalled\n%s", shown, exit, output)
	}
	// A stall makes the results inconclusive; the rest must be as shown all the same.
	results := exit == explain.ExitPass
	if diff := cmp.Diff(shape(want, results), shape(strings.Split(output, "\n"), results)); diff != "" {
		t.Errorf("README.md shows another run than this one; copy a new one (-README +run):\n%s\n%s", diff, output)
	}
}

func readmeOutput(t *testing.T) []string {
	t.Helper()
	for _, d := range documents(t) {
		for _, b := range d.Blocks {
			for _, c := range b.Commands() {
				if d.Name == "README.md" && c.Text == shown && len(c.Output) > 0 {
					return c.Output
				}
			}
		}
	}
	t.Fatalf("README.md: got no block with the output of %q", shown)
	return nil
}

var (
	number = regexp.MustCompile(`(tick )?[+-]?[0-9][0-9.]*( (µs|ms|ns|s))?`)
	result = regexp.MustCompile(` (ok|late|inconclusive|unsure)$`)
	spaces = regexp.MustCompile(` +`)
)

// shape keeps the lines of a run's output that do not depend on the kernel: the ladder and the table of checks, without numbers.
func shape(lines []string, results bool) []string {
	var out []string
	inTable := false
	for _, line := range lines {
		inTable = inTable && line != "" || strings.HasPrefix(line, "  check ")
		if !inTable && !strings.Contains(line, "──►") && !strings.Contains(line, "connect() = ") {
			continue
		}
		line = spaces.ReplaceAllString(number.ReplaceAllString(strings.TrimRight(line, " "), "#"), " ")
		if !results {
			line = result.ReplaceAllString(line, "")
		}
		out = append(out, line)
	}
	return out
}

// TestShape is the negative control of TestReadmeRun: a ladder with a packet more and a check that failed are other shapes, and other
// numbers are not.
func TestShape(t *testing.T) {
	good := []string{"tcplab 0.1.0", "  1.018 s   client ── SYN again (1 of 2) ───►✗ server   tick +82 µs  ok", "", "  check  expected  result", "  packets   3  ok", ""}
	same := []string{"tcplab dev", "  11.0 s  client ── SYN again (1 of 2) ───►✗ server   +1 ms  ok", "  check   expected result", "  packets   4 ok", "", "more"}
	if diff := cmp.Diff(shape(good, true), shape(same, true)); diff != "" {
		t.Errorf("other numbers (-want +got):\n%s", diff)
	}
	for name, bad := range map[string][]string{
		"a packet more":  append(slices.Clone(good), good[1]),
		"a failed check": {good[1], good[3], "  packets   3  FAIL"},
		"no table":       {good[1]},
	} {
		if cmp.Equal(shape(good, true), shape(bad, true)) {
			t.Errorf("%s: got the same shape, want another", name)
		}
	}
}
