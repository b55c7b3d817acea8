package oracle

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/timeline"
)

// Mechanism is what predicts from its own fields, a kernel's facts and a start: every type of this package with a Predict.
type Mechanism interface {
	Predict(f kernel.Facts, start *Start) (timeline.Timeline, error)
}

// Memory keeps what mechanisms predicted over every start: that takes long, and does not depend on who asks. It can be carried to another
// process. An answer is found by all that it stands on, written out: the mechanism with its fields and the kernel's facts. So an answer to
// other settings or to another kernel is never taken for it.
//
// A nil Memory remembers nothing. It may be used by several goroutines.
type Memory struct {
	mu      sync.Mutex
	answers map[string]timeline.Timeline
}

// NewMemory returns a Memory that has these answers already; nil: none.
func NewMemory(answers map[string]timeline.Timeline) *Memory {
	m := &Memory{answers: map[string]timeline.Timeline{}}
	maps.Copy(m.answers, answers)
	return m
}

// Answers are all that it knows, to be given to another NewMemory.
func (m *Memory) Answers() map[string]timeline.Timeline {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.answers)
}

// Predict asks the mechanism, or remembers what it said. What it says of one start is quick, and is not kept.
func (m *Memory) Predict(of Mechanism, f kernel.Facts, start *Start) (timeline.Timeline, error) {
	key := ""
	if m != nil && start == nil {
		key = question(of, f)
	}
	if key == "" {
		return of.Predict(f, start)
	}
	m.mu.Lock()
	t, ok := m.answers[key]
	m.mu.Unlock()
	if ok {
		return copied(t), nil
	}
	t, err := of.Predict(f, nil)
	if err != nil {
		return t, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[key] = copied(t)
	return t, nil
}

// question writes out what an answer stands on, as a Go expression, in which no two values look alike. Empty: it cannot be written out,
// because a pointer or a function is in it. What a kernel is called, and where its facts came from, changes no prediction.
func question(of Mechanism, f kernel.Facts) string {
	f.Release, f.Arch, f.From = "", "", nil
	q := fmt.Sprintf("%#v %#v", of, f)
	if strings.Contains(q, ")(0x") {
		return ""
	}
	return q
}

// copied shares nothing that a caller might change.
func copied(t timeline.Timeline) timeline.Timeline {
	t.Events = slices.Clone(t.Events)
	if t.Outcome != nil {
		o := *t.Outcome
		t.Outcome = &o
	}
	t.Alternatives = slices.Clone(t.Alternatives)
	for i, alt := range t.Alternatives {
		t.Alternatives[i] = copied(alt)
	}
	t.Connections = slices.Clone(t.Connections)
	for i, c := range t.Connections {
		t.Connections[i].Timeline = copied(c.Timeline)
	}
	return t
}
