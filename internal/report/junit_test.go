package report

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tcplab/tcplab/internal/result"
)

func junit(t *testing.T, runs ...*result.Result) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := JUnit(&b, runs...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Catches a JUnit document that a CI cannot show: a failure without its numbers, a property that is gone.
func TestJUnitGolden(t *testing.T) {
	golden(t, "junit.xml", junit(t, passing(), extraSYN(), stalled(), handshake()))
}

// The reading side of a CI, as plain as it can be.
type readSuites struct {
	readCounts
	Suites []struct {
		readCounts
		Name  string `xml:"name,attr"`
		Cases []struct {
			Name    string      `xml:"name,attr"`
			Failure *readDetail `xml:"failure"`
			Error   *readDetail `xml:"error"`
			Skipped *readDetail `xml:"skipped"`
		} `xml:"testcase"`
	} `xml:"testsuite"`
}

type readCounts struct {
	Tests    int `xml:"tests,attr"`
	Failures int `xml:"failures,attr"`
	Errors   int `xml:"errors,attr"`
	Skipped  int `xml:"skipped,attr"`
}

type readDetail struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
}

// Catches a verdict that a CI would take for a pass, and counts that do not agree with the cases.
func TestJUnitVerdicts(t *testing.T) {
	one := func(run, check result.Verdict) *result.Result {
		return &result.Result{Verdict: run, Reason: "because", Checks: []result.Check{{ID: "a", Name: "a", Verdict: check}}}
	}
	for _, tc := range []struct {
		name string
		run  *result.Result
		want readCounts
		kind string // type of the failure or error
	}{
		{"pass", one(result.Pass, result.Pass), readCounts{Tests: 1}, ""},
		{"fail", one(result.Fail, result.Fail), readCounts{Tests: 1, Failures: 1}, "fail"},
		{"inconclusive is an error", one(result.Inconclusive, result.Inconclusive), readCounts{Tests: 1, Errors: 1}, "inconclusive"},
		{"unable is an error", one(result.Unable, result.Unable), readCounts{Tests: 1, Errors: 1}, "unable"},
		{"error", one(result.Error, result.Error), readCounts{Tests: 1, Errors: 1}, "error"},
		{"skip", one(result.Skip, result.Skip), readCounts{Tests: 1, Skipped: 1}, ""},
		{"checks passed, run did not", one(result.Error, result.Pass), readCounts{Tests: 2, Errors: 1}, "error"},
		{"no check at all", &result.Result{Verdict: result.Unable, Reason: "no CAP_NET_ADMIN"}, readCounts{Tests: 1, Errors: 1}, "unable"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got readSuites
			if err := xml.Unmarshal(junit(t, tc.run, tc.run), &got); err != nil {
				t.Fatal(err)
			}
			if len(got.Suites) != 2 {
				t.Fatalf("suites: got %d, want 2", len(got.Suites))
			}
			if diff := cmp.Diff(tc.want, got.Suites[0].readCounts); diff != "" {
				t.Errorf("suite (-want +got):\n%s", diff)
			}
			double := readCounts{2 * tc.want.Tests, 2 * tc.want.Failures, 2 * tc.want.Errors, 2 * tc.want.Skipped}
			if diff := cmp.Diff(double, got.readCounts); diff != "" {
				t.Errorf("testsuites (-want +got):\n%s", diff)
			}
			kind, counted := "", readCounts{Tests: len(got.Suites[0].Cases)}
			for _, c := range got.Suites[0].Cases {
				switch {
				case c.Failure != nil:
					kind, counted.Failures = c.Failure.Type, counted.Failures+1
				case c.Error != nil:
					kind, counted.Errors = c.Error.Type, counted.Errors+1
				case c.Skipped != nil:
					counted.Skipped++
				}
			}
			if kind != tc.kind {
				t.Errorf("type: got %q, want %q", kind, tc.kind)
			}
			if diff := cmp.Diff(tc.want, counted); diff != "" {
				t.Errorf("cases counted one by one (-want +got):\n%s", diff)
			}
		})
	}
}

// Catches XML that a strict parser refuses: control characters, broken UTF-8 and markup in any string of the result.
func TestJUnitHostile(t *testing.T) {
	r := extraSYN()
	poison(r)
	out := junit(t, r)
	dec := xml.NewDecoder(bytes.NewReader(out))
	for {
		_, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("parse what JUnit wrote: %v", err)
		}
	}
	if strings.ContainsAny(string(out), "\x00\x1b\x07\u202e\ufffd") {
		t.Errorf("got a control character or a replacement character in the document")
	}
}
