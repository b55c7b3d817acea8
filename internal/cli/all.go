package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// all names the whole catalogue. It is reserved: no experiment may begin with it.
const all = "all"

// expand resolves names; all stands for the catalogue, in its order. A name that is given twice counts once.
func expand(names []string) ([]*experiments.Experiment, error) {
	var xs []*experiments.Experiment
	for _, name := range names {
		if name == all {
			for _, x := range experiments.All() {
				if !slices.Contains(xs, x) {
					xs = append(xs, x)
				}
			}
			continue
		}
		x, err := find(name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(xs, x) {
			xs = append(xs, x)
		}
	}
	return xs, nil
}

// given returns the flags of an experiment's parameters among those that were given, for each experiment. A flag that none of them has is
// an error; one that only some have is for those.
func (c *choice) given(changed func(string) bool, xs []*experiments.Experiment) ([]map[string]string, error) {
	out := make([]map[string]string, len(xs))
	for i := range out {
		out[i] = map[string]string{}
	}
	for _, flag := range slices.Sorted(maps.Keys(c.params)) {
		v := c.params[flag]
		if !changed(flag) {
			continue
		}
		if *v == "" {
			return nil, usage(explain.ValueOutOfRange, fmt.Errorf("--%s: want a value", flag))
		}
		taken := false
		for i, x := range xs {
			if slices.ContainsFunc(x.Params, func(q experiments.Param) bool { return q.Flag == flag }) {
				out[i][flag], taken = *v, true
			}
		}
		switch {
		case !taken && len(xs) == 1:
			return nil, usage(explain.ValueOutOfRange, xs[0].Lacks(flag))
		case !taken:
			return nil, usage(explain.ValueOutOfRange, fmt.Errorf("none of the %d experiments has a parameter --%s", len(xs), flag))
		}
	}
	return out, nil
}

// stagger is the time between the starts of labs that run at once: building one (threads, links, iptables) must not hold up the first
// packets of the one before. The shortest begin last, when the others only wait; beside ten labs 0.3 s left exp6 (a link with a delay) without a
// verdict in 5 of 6 runs. Of four catalogues each, in turn, 0.6 s left 8 of 52 runs without one, and this 4.
const stagger = time.Second

// building is about how long a lab takes besides its experiment: making it, its captures and files.
const building = time.Second

// estimate is how long each job's experiment will take at most, by its prediction; 0 where it cannot be predicted here.
func estimate(jobs []job) []time.Duration {
	out := make([]time.Duration, len(jobs))
	facts, err := kernel.Running()
	if err != nil {
		return out
	}
	known := map[*experiments.Experiment]time.Duration{}
	for i, j := range jobs {
		if _, ok := known[j.x]; !ok {
			if p, err := predict(j.x, j.plan, facts); err == nil {
				known[j.x] = report.Estimate(p)
			}
		}
		out[i] = known[j.x]
	}
	return out
}

// order sorts jobs so that the longest begins first: with a slot for each, the whole then takes little longer than that one. The numbers
// of the jobs stay those of the catalogue.
func order(jobs []job, took []time.Duration) []job {
	took = slices.Clone(took)
	sorted := slices.Clone(jobs)
	slices.SortStableFunc(sorted, func(a, b job) int { return cmp.Compare(took[b.n-1], took[a.n-1]) })
	return sorted
}

// announcement says how long several runs take, and which is the longest. parallel is how many are made at once.
func announcement(jobs []job, took []time.Duration, parallel int) (text string, whole time.Duration) {
	free := make([]time.Duration, min(parallel, len(jobs))) // when each slot is free
	longest := job{}
	var most time.Duration
	for i, j := range order(jobs, took) {
		slot := 0
		for s := range free {
			if free[s] < free[slot] {
				slot = s
			}
		}
		free[slot] = max(free[slot], time.Duration(i%len(free))*stagger) + took[j.n-1] + building
		whole = max(whole, free[slot])
		if took[j.n-1] > most {
			longest, most = j, took[j.n-1]
		}
	}
	text = fmt.Sprintf("%d runs, %s at once: takes about %s", len(jobs), labs(len(free)), report.About(whole))
	if longest.x != nil {
		text += fmt.Sprintf("; the longest is %s with %s", longest.x.Name, report.About(most))
	}
	return text, whole
}

func labs(n int) string {
	if n == 1 {
		return "1 lab"
	}
	return fmt.Sprintf("%d labs", n)
}

// several reports whether a batch is of more than one experiment.
func (b *batch) several() bool {
	return slices.ContainsFunc(b.jobs, func(j job) bool { return j.x != b.jobs[0].x })
}

// announce says on standard error how long it takes, where that is long or the runs are of different experiments.
func (b *batch) announce() {
	if len(b.jobs) < 2 {
		return // its head says so
	}
	text, whole := announcement(b.jobs, b.took, b.flags.parallel)
	if whole > 30*time.Second || b.several() {
		fmt.Fprintln(b.app.err, text)
	}
}

// failed is a job that could not be carried out.
type failed struct {
	job
	err error
}

// failedDocument is the same in JSON.
type failedDocument struct {
	Experiment string `json:"experiment"`
	Error      string `json:"error"`
	Exit       int    `json:"exit"`
	Code       string `json:"code,omitempty"`
}

// keepOn notes an error of one experiment among several: the others go on. A signal ends them all.
func (b *batch) keepOn(ctx context.Context, j job, err error) bool {
	if !b.several() || ctx.Err() != nil {
		return false
	}
	b.fail(j, err)
	return true
}

// failures lists what could not be carried out, in the order of the jobs.
func (b *batch) failures() []failedDocument {
	slices.SortFunc(b.failed, func(a, c failed) int { return cmp.Compare(a.n, c.n) })
	var out []failedDocument
	for _, f := range b.failed {
		exit, code := classify(f.err)
		out = append(out, failedDocument{f.x.Name, f.err.Error(), exit, code})
	}
	return out
}

// table writes a line for each experiment, in the order of the jobs: the gravest verdict, the checks and the longest wall time of its runs.
func (b *batch) table(w io.Writer, s report.Style) error {
	var rows []report.SummaryRow
	for _, j := range b.jobs {
		if i := slices.IndexFunc(rows, func(r report.SummaryRow) bool { return r.Name == j.x.Name }); i >= 0 {
			rows[i].Add(b.results[j.n-1])
			continue
		}
		row := report.SummaryRow{Name: j.x.Name, Runs: map[result.Verdict]int{}}
		row.Add(b.results[j.n-1])
		for _, f := range b.failed {
			if f.x == j.x {
				row.Reason = f.err.Error()
			}
		}
		rows = append(rows, row)
	}
	return report.Summary(w, rows, s)
}
