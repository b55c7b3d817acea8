package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/runner"
)

func (a *app) predictCmd() *cobra.Command {
	var c choice
	var version string
	var hz int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "predict EXPERIMENT... | all",
		Short: "say what a kernel will do, and by which formula (no root, nothing is run)",
		Long: `Predict computes the timeline of an experiment from the kernel's rules and the settings alone. For this kernel it needs no
privilege; --kernel and --hz model another one, by its version. Times are seconds since the first packet; "late" is how much later
than its nominal time an event may come, because kernel timers fire late, never early.`,
		Example: `  tcplab predict exp1-syn-loss --syn-retries=2
  tcplab predict exp1 --profile=kernel --kernel=6.1 --hz=1000
  tcplab predict exp1 --json`,
		Args:              someExperiment,
		ValidArgsFunction: completeExperiments,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return checkHZ(cmd, hz) },
		RunE: func(cmd *cobra.Command, names []string) error {
			facts, err := model(version, hz)
			if err != nil {
				return err
			}
			xs, plans, err := c.plans(cmd, names)
			if err != nil {
				return err
			}
			var all []*result.Prediction
			for i, x := range xs {
				p, err := predict(x, plans[i], facts)
				if err != nil {
					return err
				}
				all = append(all, p)
			}
			if asJSON {
				if len(all) == 1 {
					return writeJSON(a.out, all[0])
				}
				return writeJSON(a.out, map[string]any{"schema": "tcplab.predictions/v1", "predictions": all})
			}
			for i, p := range all {
				if i > 0 {
					fmt.Fprintln(a.out)
				}
				if err := report.PredictionText(a.out, *p, a.style(a.out)); err != nil {
					return err
				}
				if isTTY(a.out) {
					a.elsewhere(p)
				}
			}
			return nil
		},
	}
	c.flags(cmd)
	cmd.Flags().StringVar(&version, "kernel", "", "model this kernel version instead of the running one: 5.15")
	cmd.Flags().IntVar(&hz, "hz", 0, "CONFIG_HZ of that kernel: 100, 250, 300, 1000 (default: this kernel's, or 250)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

func predict(x *experiments.Experiment, plan experiments.Plan, facts kernel.Facts) (*result.Prediction, error) {
	e, err := runner.Env(x, plan, facts)
	if err != nil {
		return nil, err
	}
	p, err := runner.Predict(x, plan, e)
	if err != nil {
		return nil, usage(explain.ValueOutOfRange, err)
	}
	return p, nil
}

// elsewhere hints at the same prediction under the other profiles and for other kernels. A program that reads the table does not want it.
func (a *app) elsewhere(p *result.Prediction) {
	words := []string{"tcplab predict", p.Experiment}
	for _, q := range p.Params {
		if q.From == "flag" {
			words = append(words, "--"+q.Name+"="+q.Value)
		}
	}
	same := strings.Join(words, " ")
	fmt.Fprintln(a.err, "\nAlso")
	for _, other := range experiments.Profiles() {
		if string(other) != p.Profile {
			fmt.Fprintf(a.err, "  %s --profile=%s\n", same, other)
		}
	}
	for _, kernel := range []string{"6.1", "6.12"} { // before and after linear SYN timeouts
		fmt.Fprintf(a.err, "  %s --profile=%s --kernel=%s\n", same, p.Profile, kernel)
	}
}

// checkHZ refuses an --hz that was given and no kernel has.
func checkHZ(cmd *cobra.Command, hz int) error {
	if !cmd.Flags().Changed("hz") {
		return nil
	}
	if kernel.CheckHZ(hz) != nil {
		return usage(explain.ValueOutOfRange, fmt.Errorf("--hz=%d: want the kernel's CONFIG_HZ, such as 250", hz))
	}
	return nil
}

// model returns the facts of the kernel that was asked for: the running one, or a version with an HZ; 0: none was given.
func model(version string, hz int) (kernel.Facts, error) {
	running, rerr := kernel.Running()
	if version == "" {
		if rerr != nil {
			return kernel.Facts{}, &failure{fmt.Errorf("%w; --kernel=6.12 models one", rerr), explain.ExitUnable, explain.KernelNotModeled}
		}
		if hz != 0 {
			running.HZ = hz
			running.From["HZ"] = "--hz"
		}
		return running, nil
	}
	v, err := kernel.ParseVersion(version)
	if err != nil {
		return kernel.Facts{}, usage(explain.KernelNotModeled, err)
	}
	from := "--hz"
	if hz == 0 {
		hz, from = 250, "assumed: give --hz"
		if rerr == nil {
			hz, from = running.HZ, "this machine's: give --hz"
		}
	}
	f, err := kernel.Model(v, hz)
	if err != nil {
		return kernel.Facts{}, usage(explain.KernelNotModeled, err)
	}
	f.From["HZ"] = from
	return f, nil
}
