package cli

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/userns"
	"github.com/tcplab/tcplab/internal/vm"
)

func (a *app) doctorCmd() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "look at this machine: what experiments need, what is there, what to do",
		Long:  "Doctor builds a small lab, tries each thing that experiments need, and takes it down again. It exits with 3 where experiments cannot run.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			done, refused := a.again(false)
			if done && !errors.Is(refused, userns.ErrRefused) {
				return refused
			}
			found := append([]runner.Finding{privilege(refused)}, runner.Doctor(cmd.Context())...)
			if err := interrupted(cmd.Context()); err != nil {
				return err
			}
			found = append(found, machineFindings()...)
			for _, f := range found {
				if f.State == runner.Missing {
					a.code = explain.ExitUnable
				}
			}
			if asJSON {
				return writeJSON(a.out, map[string]any{"schema": "tcplab.doctor/v1", "findings": found})
			}
			w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			for _, f := range found {
				fmt.Fprintf(w, "%s\t%s\t%s\n", f.State, f.Name, a.plain(strings.ReplaceAll(f.Value, "\n", "; ")))
				if f.Cure != "" {
					fmt.Fprintf(w, "\t\tto mend: %s\n", f.Cure)
				}
				if f.Code != "" && f.State != runner.OK {
					fmt.Fprintf(w, "\t\tmore: tcplab explain %s\n", f.Code)
				}
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if a.code == 0 {
				fmt.Fprintln(a.out, "\nexperiments can run here")
			} else {
				fmt.Fprintln(a.out, "\nexperiments cannot run here as things are; `tcplab predict` can")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON document")
	return cmd
}

// machineFindings say what run --kernel needs. Experiments run without it.
func machineFindings() []runner.Finding {
	path, err := vm.FindEngine()
	here, kerr := vm.Kernels()
	return []runner.Finding{engineFinding(path, err), kernelsFinding(here, kerr)}
}

func engineFinding(path string, err error) runner.Finding {
	f := runner.Finding{Name: "virtual machine", State: runner.OK, Value: path, Code: explain.NoMachine}
	if err != nil {
		f.State, f.Value = runner.Lesser, err.Error()
	}
	if errors.Is(err, exec.ErrNotFound) {
		f.Cure = "apt-get install qemu-system-x86 (only for run --kernel)"
	}
	return f
}

// kernelsFinding names the kernels that can be booted; what stands in the way of others is told only where it leaves none.
func kernelsFinding(here []vm.Kernel, err error) runner.Finding {
	f := runner.Finding{Name: "kernels to boot", State: runner.OK, Code: explain.NoMachine}
	var names, problems []string
	for _, k := range here {
		if k.Problem == "" {
			names = append(names, k.Release)
		} else {
			problems = append(problems, k.From+": "+k.Problem)
		}
	}
	switch f.Value = strings.Join(names, ", "); {
	case err != nil:
		f.State, f.Value = runner.Lesser, err.Error()
	case len(names) == 0 && len(problems) > 0:
		f.State, f.Value, f.Cure = runner.Lesser, "none: "+strings.Join(problems, "; "), "tcplab kernels fetch 6.12, or what is named here (only for run --kernel)"
	case len(names) == 0:
		f.State, f.Value, f.Cure = runner.Lesser, "none", "tcplab kernels fetch 6.12 (only for run --kernel)"
	}
	return f
}
