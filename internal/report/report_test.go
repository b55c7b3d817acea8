package report

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/tcplab/tcplab/internal/result"
)

var update = flag.Bool("update", false, "write the golden files of this package anew")

const runDir = "tcplab-runs/20261122-171812-exp1-syn-loss"

// golden compares got with testdata/name. An -update that nobody reads proves nothing: the goldens are meant to be read.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with go test ./internal/report -update)", err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func text(t *testing.T, r *result.Result, s Style) string {
	t.Helper()
	var b bytes.Buffer
	if err := Text(&b, r, s); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Catches any change of what people see: a lost line, a shifted column, a colour that leaks, an arrow that points the wrong way.
func TestTextGoldens(t *testing.T) {
	for name, r := range samples() {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".txt", []byte(text(t, r, Style{Dir: runDir})))
		})
	}
	for _, tc := range []struct {
		name  string
		r     *result.Result
		style Style
	}{
		{"pass.ascii.txt", passing(), Style{ASCII: true, Dir: runDir}},
		{"synack.ascii.txt", synAckLoss(), Style{ASCII: true}},
		{"missing-syn.color.txt", missingSYN(), Style{Color: true, Dir: runDir}},
		{"extra-syn.w60.txt", extraSYN(), Style{Width: 60, Dir: runDir}},
		{"pass.w80.txt", passing(), Style{Width: 80, Dir: runDir}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			golden(t, tc.name, []byte(text(t, tc.r, tc.style)))
		})
	}
}

// Catches a ladder.txt that depends on the terminal of whoever made it.
func TestLadderTextGolden(t *testing.T) {
	var b bytes.Buffer
	if err := LadderText(&b, missingSYN()); err != nil {
		t.Fatal(err)
	}
	golden(t, "ladder.txt", b.Bytes())
}

// Catches a prediction table without its windows or formulas, in a column or below.
func TestPredictionGoldens(t *testing.T) {
	maybe := *synPrediction("exp1-syn-loss")
	maybe.Events = append(maybe.Events, result.Event{At: sec(7 * time.Second), Late: sec(ms), Host: "client", What: "syn-retransmission", N: 3, Maybe: true})
	for _, tc := range []struct {
		name string
		p    result.Prediction
		s    Style
	}{
		{"predict.txt", *synPrediction("exp1-syn-loss"), Style{Width: 120}},
		{"predict.w60.txt", maybe, Style{Width: 60}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b bytes.Buffer
			if err := PredictionText(&b, tc.p, tc.s); err != nil {
				t.Fatal(err)
			}
			golden(t, tc.name, b.Bytes())
		})
	}
}

// Catches a live run that prints other lines than the stored result does: the same pieces, put together by hand, are Text.
func TestPiecesMakeText(t *testing.T) {
	for name, r := range samples() {
		t.Run(name, func(t *testing.T) {
			s := Style{Dir: runDir, Color: true}
			var b bytes.Buffer
			if err := Head(&b, r, s, 0); err != nil {
				t.Fatal(err)
			}
			for _, piece := range []func(io.Writer, *result.Result, Style) error{Ladder, Checks, Story, Notes, Evidence, Failure, lastLines} {
				var part bytes.Buffer
				if err := piece(&part, r, s); err != nil {
					t.Fatal(err)
				}
				if part.Len() > 0 {
					b.WriteString("\n" + part.String())
				}
			}
			if diff := cmp.Diff(text(t, r, s), b.String()); diff != "" {
				t.Errorf("Text against its pieces (-want +got):\n%s", diff)
			}
		})
	}
}

// Catches a LadderLine that differs from the line of Ladder for the same event: it is fed only the packets up to each event.
func TestLadderLineByLine(t *testing.T) {
	for name, r := range map[string]*result.Result{"pass": passing(), "exact": exact(), "extra": extraSYN()} {
		t.Run(name, func(t *testing.T) {
			var want, got bytes.Buffer
			if err := Ladder(&want, r, Style{}); err != nil {
				t.Fatal(err)
			}
			soFar := *r
			for i, e := range append(append([]result.Event{}, r.Events...), *r.Outcome) {
				state := map[int]string{0: "SYN-SENT", len(r.Events): "CLOSED"}[i]
				soFar.Packets = r.Packets[:min(i+1, len(r.Packets))]
				if err := LadderLine(&got, &soFar, e, state, Style{}); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(want.String(), got.String()); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
		})
	}
}

func lastLines(w io.Writer, r *result.Result, s Style) error {
	return errors.Join(Files(w, r, s), VerdictLine(w, r, s))
}

var sgrSequence = regexp.MustCompile("\x1b\\[[0-9;]*m")

// Catches lines that run past the terminal's edge, at widths from 60 to 140, in Unicode and in ASCII. A line with a path in it
// is exempt: a path is never cut.
func TestWidth(t *testing.T) {
	for name, r := range samples() {
		for width := 60; width <= 140; width += 4 {
			for _, ascii := range []bool{false, true} {
				for i, line := range strings.Split(text(t, r, Style{Width: width, ASCII: ascii, Dir: runDir, Color: true}), "\n") {
					if got := ansi.StringWidth(line); got > width && !strings.Contains(line, runDir) {
						t.Errorf("%s, width %d: line %d has %d cells: %q", name, width, i+1, got, line)
					}
					if strings.HasSuffix(line, " ") {
						t.Errorf("%s, width %d: line %d ends in a space: %q", name, width, i+1, line)
					}
				}
			}
		}
	}
}

// Catches colour that changes the text, and colour codes without Color.
func TestColorIsOnlyColor(t *testing.T) {
	for name, r := range samples() {
		color, mono := text(t, r, Style{Color: true}), text(t, r, Style{})
		if strings.Contains(mono, "\x1b") {
			t.Errorf("%s: got an escape code without Color", name)
		}
		if !strings.Contains(color, "\x1b[") {
			t.Errorf("%s: got no escape code with Color", name)
		}
		if diff := cmp.Diff(mono, sgrSequence.ReplaceAllString(color, "")); diff != "" {
			t.Errorf("%s: colour changes the text (-want +got):\n%s", name, diff)
		}
	}
}

type brokenWriter struct{}

var errBroken = errors.New("broken pipe")

func (brokenWriter) Write([]byte) (int, error) { return 0, errBroken }

// Catches a report that claims to be written to a full disk or a closed pipe.
func TestWriteErrors(t *testing.T) {
	r := missingSYN()
	for name, f := range map[string]func() error{
		"Text":           func() error { return Text(brokenWriter{}, r, Style{}) },
		"Head":           func() error { return Head(brokenWriter{}, r, Style{}, 0) },
		"LadderLine":     func() error { return LadderLine(brokenWriter{}, r, r.Events[0], "", Style{}) },
		"LadderText":     func() error { return LadderText(brokenWriter{}, r) },
		"PredictionText": func() error { return PredictionText(brokenWriter{}, *r.Prediction, Style{}) },
		"JSON":           func() error { return JSON(brokenWriter{}, r) },
		"JUnit":          func() error { return JUnit(brokenWriter{}, r) },
	} {
		if err := f(); !errors.Is(err, errBroken) {
			t.Errorf("%s: got error %v, want %v", name, err, errBroken)
		}
	}
}

// Catches JSON that Read would refuse or that loses a field.
func TestJSONRoundTrip(t *testing.T) {
	var b bytes.Buffer
	if err := JSON(&b, extraSYN()); err != nil {
		t.Fatal(err)
	}
	got, err := result.Read(&b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(extraSYN(), got); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}
