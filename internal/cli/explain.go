package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/setting"
	"github.com/tcplab/tcplab/sysctl"
)

// explainFlags are the flags of explain.
type explainFlags struct {
	kernels []string
	hz      int
	rtt     time.Duration
	json    bool
}

func (a *app) explainCmd() *cobra.Command {
	f := &explainFlags{}
	cmd := &cobra.Command{
		Use:   "explain [CODE | SETTING[=VALUE]...]",
		Short: "explain a code such as TL1203, or what a setting such as tcp_retries2=8 means in seconds",
		Long: `Explain tells what a code in tcplab's output means, why the kernel does it and what to do. Without an argument it lists the codes.

A sysctl or a socket option with a value is told in seconds: what happens when nobody answers, and how late this kernel's timers may be. Several are
read together. What is not given has that kernel's default, not this machine's value. --kernel and --hz ask about another kernel, and show what
differs; a second --kernel is compared with the first.

A sysctl without a value is described: meaning, unit, range, default by kernel, since when, whether a network namespace has its own, when it is read.`,
		Example: `  tcplab explain TL1203
  tcplab explain tcp_retries2=8
  tcplab explain tcp_keepalive_time=600 tcp_keepalive_intvl=30 tcp_keepalive_probes=5
  tcplab explain tcp_syn_retries=2 --kernel=5.15 --kernel=6.12 --hz=250
  tcplab explain TCP_USER_TIMEOUT=30000`,
		ValidArgsFunction: completeExplain,
		PreRunE:           func(cmd *cobra.Command, _ []string) error { return checkHZ(cmd, f.hz) },
		RunE:              func(_ *cobra.Command, args []string) error { return a.explainAll(f, args) },
	}
	fl := cmd.Flags()
	fl.StringSliceVar(&f.kernels, "kernel", nil, "ask about this kernel version instead of the running one: 5.15; may be repeated, to compare")
	fl.IntVar(&f.hz, "hz", 0, "CONFIG_HZ of that kernel: 100, 250, 300, 1000 (default: this kernel's, or 250)")
	fl.DurationVar(&f.rtt, "rtt", 0, "round trip on which a retransmission timeout depends (default: a local network's, 50 µs)")
	fl.BoolVar(&f.json, "json", false, "print one JSON document")
	return cmd
}

func completeExplain(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var c []string
	if len(args) == 0 {
		for _, e := range explain.All() {
			c = append(c, e.Code+"\t"+e.Title)
		}
	}
	for _, k := range sysctl.All() {
		c = append(c, k.Short()+"\t"+k.Summary)
	}
	for _, o := range setting.Options() {
		c = append(c, o.Name+"\t"+o.Summary)
	}
	return c, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// explainAll tells codes from settings.
func (a *app) explainAll(f *explainFlags, args []string) error {
	if f.rtt < 0 || f.rtt > time.Minute {
		return usage(explain.ValueOutOfRange, fmt.Errorf("--rtt=%v: want a round trip, such as 50ms", f.rtt))
	}
	if len(args) <= 1 {
		code := ""
		if len(args) == 1 {
			code = args[0]
		}
		if e, ok := explain.Lookup(code); ok || code == "" {
			return a.explainCode(f, e, code)
		}
	}
	d, err := f.ask(args)
	if err != nil {
		return explainError(err)
	}
	if f.json {
		return writeJSON(a.out, d.document())
	}
	return d.write(a.out)
}

// explainCode prints one code, or lists them all.
func (a *app) explainCode(f *explainFlags, e explain.Entry, code string) error {
	all := []explain.Entry{e}
	if code == "" {
		all = explain.All()
	}
	if f.json {
		d := explainDocument{Schema: explainSchema}
		for _, e := range all {
			d.Codes = append(d.Codes, codeDocument{e.Code, e.Title, e.Paragraphs(), e.See})
		}
		return writeJSON(a.out, d)
	}
	if code == "" {
		for _, e := range all {
			fmt.Fprintf(a.out, "%s  %s\n", e.Code, e.Title)
		}
		return nil
	}
	fmt.Fprintf(a.out, "%s  %s\n", e.Code, e.Title)
	for _, p := range e.Paragraphs() {
		fmt.Fprintf(a.out, "\n%s\n", wrap(p, 96))
	}
	if len(e.See) > 0 {
		fmt.Fprintf(a.out, "\nSee also: %s\n", strings.Join(e.See, ", "))
	}
	return nil
}

// explainError gives an error of package setting its exit code.
func explainError(err error) error {
	switch {
	case errors.Is(err, setting.ErrMissing):
		return &failure{err, explain.ExitUnable, explain.KnobMissing}
	case errors.Is(err, setting.ErrUnknown):
		return usage(explain.UnknownKnob, err)
	case errors.Is(err, setting.ErrRange):
		return usage(explain.ValueOutOfRange, err)
	}
	return err
}

// answer is all that explain says about settings.
type answer struct {
	facts    kernel.Facts
	given    []setting.Assignment
	meanings []setting.Meaning
	knobs    []sysctl.Knob    // that were named, with or without a value
	options  []setting.Option // the same
	other    []elsewhere
}

// elsewhere is the same question for another kernel.
type elsewhere struct {
	facts    kernel.Facts
	meanings []setting.Meaning
	err      error
}

// ask reads the arguments and finds the answers for each kernel.
func (f *explainFlags) ask(args []string) (*answer, error) {
	d := &answer{}
	bare := map[string]bool{}
	for _, arg := range args {
		name, _, assigned := strings.Cut(arg, "=")
		name = strings.TrimSpace(name)
		if assigned {
			g, err := setting.Parse(arg)
			if err != nil {
				return nil, err
			}
			d.given, name = append(d.given, g), g.Name
		}
		k, isKnob := sysctl.Lookup(name)
		o, isOption := setting.LookupOption(name)
		switch {
		case bare[strings.ToLower(name)]:
		case isKnob:
			d.knobs = append(d.knobs, k)
		case isOption:
			d.options = append(d.options, o)
		default:
			return nil, unknownSetting(arg)
		}
		bare[name] = true
	}
	if len(f.kernels) == 0 && len(d.given) == 0 && f.hz == 0 {
		if _, err := kernel.Running(); err != nil {
			return d, nil // a page of the catalogue needs no kernel
		}
	}
	kernels := f.kernels
	if len(kernels) == 0 {
		kernels = []string{""}
	}
	for i, version := range kernels {
		facts, err := model(version, f.hz)
		if err != nil {
			return nil, err
		}
		q := setting.Question{Facts: facts, RTT: f.rtt, Given: d.given}
		meanings, err := setting.Explain(q)
		if i == 0 {
			if err != nil {
				return nil, err
			}
			d.facts, d.meanings = facts, meanings
			continue
		}
		d.other = append(d.other, elsewhere{facts, meanings, err})
	}
	return d, d.here(f)
}

// here adds the running kernel, where another one was asked about alone.
func (d *answer) here(f *explainFlags) error {
	if len(f.kernels) != 1 || len(d.given) == 0 {
		return nil
	}
	running, err := kernel.Running()
	if err != nil || running.Version == d.facts.Version && running.HZ == d.facts.HZ {
		return nil // nothing to compare with
	}
	meanings, err := setting.Explain(setting.Question{Facts: running, RTT: f.rtt, Given: d.given})
	d.other = append(d.other, elsewhere{running, meanings, err})
	return nil
}

// unknownSetting suggests what was meant: a code, a sysctl or an option.
func unknownSetting(what string) error {
	hint := ""
	if s := explain.Suggest(what); len(s) > 0 {
		hint = "; did you mean " + strings.Join(s, " or ") + "?"
	} else if s := setting.Suggest(what); s != "" {
		hint = "; did you mean " + s + "?"
	}
	if _, ok := explain.Lookup(what); ok {
		hint = ": a code is explained by itself"
	}
	return usage("", fmt.Errorf("%q is neither a code nor a setting that tcplab knows%s; `tcplab explain` lists the codes", what, hint))
}
