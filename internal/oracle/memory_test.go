package oracle

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

func memoryFacts(t *testing.T, version kernel.Version, hz int) kernel.Facts {
	t.Helper()
	f, err := kernel.Model(version, hz)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A remembered answer is taken for the same question alone. Each answer here is a lie, so that it shows when it is taken: it must be where
// nothing has changed, and must not be where one thing has, be it a setting, a fact or a known start.
func TestMemoryQuestion(t *testing.T) {
	f := memoryFacts(t, kernel.Version{Major: 6, Minor: 12, Patch: 117}, 250)
	c := Connect{SYNRetries: 2, RTOMax: 120 * time.Second}
	s := SYNACKLoss{Connect: c, Server: Server{SYNACKRetries: 1}}
	first := NewMemory(nil)
	if _, err := first.Predict(s, f, nil); err != nil {
		t.Fatal(err)
	}
	lies := map[string]timeline.Timeline{}
	for q := range first.Answers() {
		lies[q] = timeline.Timeline{Why: "a lie"}
	}
	named := f
	named.Release, named.Arch, named.From = "6.12.117-debian", "x86_64", map[string]string{"HZ": "seen"}
	elsewhere := f
	elsewhere.SYNLinear = false
	retries, silent := s, s
	retries.SYNRetries, silent.Server.Silent = 3, true
	for _, tt := range []struct {
		name  string
		of    Mechanism
		facts kernel.Facts
		start *Start
		taken bool
	}{
		{"the same", s, f, nil, true},
		{"the same kernel by another name", s, named, nil, true},
		{"other retries", retries, f, nil, false},
		{"other server", silent, f, nil, false},
		{"other mechanism", refusalOf(c), f, nil, false},
		{"other HZ", s, memoryFacts(t, f.Version, 1000), nil, false},
		{"other version", s, memoryFacts(t, kernel.Version{Major: 6, Minor: 12, Patch: 118}, 250), nil, false},
		{"other feature", s, elsewhere, nil, false},
		{"a known start", s, f, &Start{Jiffies: 5000}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := NewMemory(lies).Predict(tt.of, tt.facts, tt.start)
			if err != nil {
				t.Fatal(err)
			}
			if taken := got.Why == "a lie"; taken != tt.taken {
				t.Errorf("the remembered answer was taken: %v, want %v", taken, tt.taken)
			}
		})
	}
}

func refusalOf(c Connect) Refusal { return Refusal{Connect: c} }

// What went through JSON, as it does on its way to a guest, is the same answer, and a caller that changes it changes only its own.
func TestMemoryCarried(t *testing.T) {
	f := memoryFacts(t, kernel.Version{Major: 6, Minor: 1}, 250)
	s := SYNACKLoss{Connect: Connect{SYNRetries: 2, RTOMax: 120 * time.Second}, Server: Server{SYNACKRetries: 2}}
	want, err := s.Predict(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := NewMemory(nil)
	if _, err := m.Predict(s, f, nil); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(m.Answers())
	if err != nil {
		t.Fatal(err)
	}
	var carried map[string]timeline.Timeline
	if err := json.Unmarshal(b, &carried); err != nil {
		t.Fatal(err)
	}
	there := NewMemory(carried)
	for range 2 {
		got, err := there.Predict(s, f, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Fatalf("carried (-want +got):\n%s", d)
		}
		got.Events[0].N, got.Outcome.N = 99, 99
	}
	if n := len(there.Answers()); n != 1 {
		t.Errorf("got %d answers, want the one that was carried: it was worked out again", n)
	}
}

// A question that cannot be written out is not remembered: two pointers look alike by chance.
func TestMemoryUnwritable(t *testing.T) {
	m := NewMemory(nil)
	f := memoryFacts(t, kernel.Version{Major: 6, Minor: 12}, 250)
	if _, err := m.Predict(pointed{&Connect{SYNRetries: 1, RTOMax: 120 * time.Second}}, f, nil); err != nil {
		t.Fatal(err)
	}
	if n := len(m.Answers()); n != 0 {
		t.Errorf("remembered %d answers to a question with a pointer", n)
	}
}

type pointed struct{ *Connect }
