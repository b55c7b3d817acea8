package result

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"
)

// MatrixSchema names the form of a Matrix. It is additive only.
const MatrixSchema = "tcplab.matrix/v1"

// Matrix is experiments on several kernels: what each kernel was predicted to do, whether it did it, and what changes from one kernel to
// the next, and why.
type Matrix struct {
	Schema  string         `json:"schema"` // always MatrixSchema
	Tool    Tool           `json:"tool"`
	Profile string         `json:"profile"`
	Command []string       `json:"command,omitempty"`
	Started time.Time      `json:"started"`         // wall clock, UTC
	Wall    Seconds        `json:"wall"`            // of this machine, for all of it
	Shard   *Shard         `json:"shard,omitempty"` // where it is one part of a matrix that several processes shared
	Kernels []MatrixKernel `json:"kernels"`         // the columns
	Rows    []MatrixRow    `json:"rows"`
	Verdict Verdict        `json:"verdict"` // the gravest
}

// MatrixKernel is one column.
type MatrixKernel struct {
	Name    string `json:"name"`              // as it was asked for: "6.12", "host"
	Release string `json:"release,omitempty"` // uname -r
	Version string `json:"version,omitempty"` // "6.12"; empty: no run on it was carried out
	HZ      int    `json:"hz,omitempty"`
	Image   string `json:"sha256,omitempty"` // of the kernel's image, where it was named by its path: two of one release are not the same
	Folder  string `json:"folder"`           // of its runs, in the folder of the matrix
	// Machines is how many virtual machines ran it; 0: it is the kernel of this machine.
	Machines int `json:"machines"`
	// Boot and Wall are times of this machine: until the program ran in a guest, and until the last run was done; the slowest machine counts.
	Boot Seconds `json:"boot,omitempty"`
	Wall Seconds `json:"wall"`
	Peak int64   `json:"peak_bytes,omitempty"` // of memory that one virtual machine held at most
}

// MatrixRow is one experiment.
type MatrixRow struct {
	Row        int          `json:"row,omitempty"`  // its number in the whole, from 1, where several processes shared the matrix
	Part       string       `json:"part,omitempty"` // where `tcplab report` put parts together: the folder of the part that has it
	Experiment string       `json:"experiment"`
	Summary    string       `json:"summary"`
	Params     []Param      `json:"params,omitempty"` // those that were given
	Cells      []MatrixCell `json:"cells"`            // one for each kernel, in their order
	// Steps say what changes from one kernel to the next. A kernel without a result is stepped over.
	Steps []MatrixStep `json:"steps,omitempty"`
}

// MatrixCell is one experiment on one kernel.
type MatrixCell struct {
	Kernel  string  `json:"kernel"`
	Verdict Verdict `json:"verdict"`
	Reason  string  `json:"reason,omitempty"` // one line, where the verdict is not Pass
	Error   string  `json:"error,omitempty"`  // why there is no result
	Exit    int     `json:"exit,omitempty"`   // the exit code of that error
	Code    string  `json:"code,omitempty"`   // its code, for `tcplab explain`
	Passed  int     `json:"passed"`           // checks
	Checks  int     `json:"checks"`
	Wall    Seconds `json:"wall"` // by the kernel's own clock
	Took    Seconds `json:"took"` // by this machine's clock
	// Late is by how many jiffies the latest event missed the one that was predicted for it. Absent: the phase of jiffies was not known.
	Late    *int64  `json:"late_ticks,omitempty"`
	Timed   int     `json:"timed,omitempty"` // events that Late speaks of
	OffTick Seconds `json:"off_tick"`        // of the latest event: how long after the start of its jiffy it was seen, or by the kernel's record came
	Events  []Event `json:"predicted,omitempty"`
	Outcome *Event  `json:"outcome,omitempty"`
	Folder  string  `json:"folder,omitempty"` // in the folder of the matrix
}

// MatrixStep is what changes from kernel A to kernel B.
type MatrixStep struct {
	A string `json:"a"`
	B string `json:"b"`
	Difference
}

// Cell fills a cell with what a run came to.
func Cell(kernel string, r *Result) MatrixCell {
	c := MatrixCell{Kernel: kernel, Verdict: r.Verdict, Reason: r.Reason, Wall: r.Wall}
	c.Passed, c.Checks = r.Tally()
	if p := r.Prediction; p != nil {
		c.Events, c.Outcome = p.Events, p.Outcome
	}
	for _, e := range r.Events {
		c.timed(e, r.Clock.Tick)
	}
	if r.Outcome != nil {
		c.timed(*r.Outcome, r.Clock.Tick)
	}
	return c
}

// timed counts an event that had a tick to come at.
func (c *MatrixCell) timed(e Event, tick Seconds) {
	off := e.AfterTick()
	if off == nil || tick <= 0 {
		return
	}
	c.Timed++
	late := int64(*off / tick)
	if *off < 0 {
		late = -1 // before its jiffy began
	}
	if c.Late == nil || abs(late) > abs(*c.Late) || abs(late) == abs(*c.Late) && *off > c.OffTick {
		c.Late, c.OffTick = &late, *off
	}
}

func abs(n int64) int64 { return max(n, -n) }

// Gravest sets the verdict of the whole from those of the cells.
func (m *Matrix) Gravest() {
	m.Verdict = Pass
	for _, row := range m.Rows {
		for _, c := range row.Cells {
			m.Verdict = Worse(m.Verdict, c.Verdict)
		}
	}
}

// Write writes m in its versioned form.
func (m *Matrix) Write(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(m)
}

// ReadMatrix reads what Write wrote.
func ReadMatrix(r io.Reader) (*Matrix, error) {
	const limit = 256 << 20
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	if len(b) > limit {
		return nil, fmt.Errorf("matrix: more than %d bytes", limit)
	}
	var m Matrix
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("matrix: %w", err)
	}
	if m.Schema != MatrixSchema {
		return nil, fmt.Errorf("matrix: schema is %q, want %q", m.Schema, MatrixSchema)
	}
	for _, row := range m.Rows {
		if len(row.Cells) != len(m.Kernels) {
			return nil, fmt.Errorf("matrix: %s: %d cells for %d kernels", row.Experiment, len(row.Cells), len(m.Kernels))
		}
		if i := slices.IndexFunc(row.Cells, func(c MatrixCell) bool { return !c.Verdict.Known() }); i >= 0 {
			return nil, fmt.Errorf("matrix: %s: verdict %q", row.Experiment, row.Cells[i].Verdict)
		}
	}
	return &m, nil
}
