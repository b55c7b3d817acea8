package cli

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
)

// diffDocument is what `diff --json` prints. The form is additive only. A time is an offset from the first packet, never wall clock.
type diffDocument struct {
	Schema     string            `json:"schema"` // "tcplab.diff/v1"
	Same       bool              `json:"same"`
	Experiment string            `json:"experiment"`
	Kernels    [2]string         `json:"kernels"` // of either run: "6.12, HZ 250"
	Verdicts   [2]result.Verdict `json:"verdicts"`
	result.Difference
}

func (a *app) diffCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff RUN RUN",
		Short: "say what differs between two stored runs, and why",
		Long: `Diff compares two runs of one experiment (folders, or their result.json): what was predicted, which checks went another way, and
the verdicts. Where the predictions differ it asks for the first one again with one fact or knob of the second at a time, and names
those that change it. Wall clock is never compared. The exit code is 0 where nothing differs and 1 where something does.`,
		Example: `  tcplab diff tcplab-runs/one tcplab-runs/other
  tcplab diff --json one/result.json other/result.json`,
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			one, err := load(args[0])
			if err != nil {
				return err
			}
			other, err := load(args[1])
			if err != nil {
				return err
			}
			d, err := diffRuns(one, other)
			if err != nil {
				return err
			}
			if !d.Same {
				a.code = 1
			}
			if asJSON {
				return writeJSON(a.out, d)
			}
			a.diffText(d)
			return a.unprinted
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func diffRuns(one, other *result.Result) (diffDocument, error) {
	if one.Experiment.Name != other.Experiment.Name || one.Prediction == nil || other.Prediction == nil {
		return diffDocument{}, usage(explain.InvalidFile, fmt.Errorf("runs of %s and %s: want two runs of one experiment, each with its prediction",
			one.Experiment.Name, other.Experiment.Name))
	}
	d := diffDocument{
		Schema: "tcplab.diff/v1", Experiment: one.Experiment.Name, Verdicts: [2]result.Verdict{one.Verdict, other.Verdict},
		Kernels: [2]string{kernelOf(one), kernelOf(other)}, Difference: differenceOf(one, other),
	}
	d.Same = one.Verdict == other.Verdict && d.Nothing()
	return d, nil
}

// differenceOf compares two runs of one experiment that have their predictions.
func differenceOf(one, other *result.Result) result.Difference {
	d := result.Difference{Predicted: result.Compare(one.Prediction, other.Prediction), Checks: diffChecks(one.Checks, other.Checks)}
	if len(d.Predicted) == 0 {
		d.Explained = true
		return d
	}
	w, err := diffWhy(one, other)
	if err != nil {
		d.NoCause = err.Error()
		return d
	}
	d.Causes, d.Explained = w.Causes, w.Explained
	return d
}

func kernelOf(r *result.Result) string {
	return fmt.Sprintf("%s, HZ %d", r.Kernel.Version, r.Kernel.HZ)
}

func diffChecks(one, other []result.Check) []result.CheckChange {
	var out []result.CheckChange
	find := func(list []result.Check, id string) result.Verdict {
		if i := slices.IndexFunc(list, func(c result.Check) bool { return c.ID == id }); i >= 0 {
			return list[i].Verdict
		}
		return ""
	}
	for _, c := range one {
		if v := find(other, c.ID); v != c.Verdict {
			out = append(out, result.CheckChange{ID: c.ID, Verdicts: [2]result.Verdict{c.Verdict, v}})
		}
	}
	for _, c := range other {
		if find(one, c.ID) == "" {
			out = append(out, result.CheckChange{ID: c.ID, Verdicts: [2]result.Verdict{"", c.Verdict}})
		}
	}
	return out
}

// diffWhy looks for causes, provided that this tcplab predicts both runs as they were predicted then: else it would explain another
// difference than the one that is stored.
func diffWhy(one, other *result.Result) (runner.Why, error) {
	x, err := experiments.Find(one.Experiment.Name)
	if err != nil {
		return runner.Why{}, err
	}
	var envs [2]experiments.Env
	var plans [2]experiments.Plan
	for i, r := range []*result.Result{one, other} {
		if plans[i], envs[i], err = envOf(x, r); err != nil {
			return runner.Why{}, err
		}
		p, err := runner.Predict(x, plans[i], envs[i])
		if err != nil {
			return runner.Why{}, err
		}
		if n := len(result.Compare(r.Prediction, p)); n > 0 {
			return runner.Why{}, fmt.Errorf("this tcplab predicts %d events of a run otherwise than its result.json", n)
		}
	}
	return runner.Causes(x, plans[0], envs[0], envs[1])
}

// envOf is what a stored run was predicted in.
func envOf(x *experiments.Experiment, r *result.Result) (experiments.Plan, experiments.Env, error) {
	flags := map[string]string{}
	for _, p := range r.Params {
		if p.From == "flag" {
			flags[p.Name] = p.Value
		}
	}
	plan, err := x.Plan(experiments.Profile(r.Profile), flags, nil)
	if err != nil {
		return plan, experiments.Env{}, err
	}
	v, err := kernel.ParseVersion(r.Kernel.Version)
	if err != nil {
		return plan, experiments.Env{}, err
	}
	facts, err := kernel.Model(v, r.Kernel.HZ)
	if err != nil {
		return plan, experiments.Env{}, err
	}
	e, err := runner.Env(x, plan, facts)
	for key, value := range r.Prediction.Sysctls { // --set included
		e.Sysctls[key] = value
	}
	return plan, e, err
}

func (a *app) diffText(d diffDocument) {
	if d.Same {
		fmt.Fprintf(a.out, "%s: nothing differs (%s; %s)\n", d.Experiment, d.Kernels[0], d.Verdicts[0])
		return
	}
	fmt.Fprintf(a.out, "%s: A is %s: %s; B is %s: %s\n", d.Experiment, d.Kernels[0], d.Verdicts[0], d.Kernels[1], d.Verdicts[1])
	a.lost(report.Difference(a.out, d.Difference, a.style(a.out)))
}
