package main

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/experiments"
	"github.com/tcplab/tcplab/internal/kernel"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/lab"
	"github.com/tcplab/tcplab/sysctl"
)

// texts hold what a page says beyond its experiment's data: how to read a run, questions to think about.
//
//go:embed texts
var texts embed.FS

// The kernels that a page predicts for: Debian 12 has 6.1, Debian 13 has 6.12, and between them came tcp_syn_linear_timeouts.
var modelled = []string{"6.1", "6.12"}

// hz is CONFIG_HZ of those kernels.
const hz = 250

// experimentPage is the page of one experiment.
func experimentPage(x *experiments.Experiment) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s.\n\n**Question.** %s\n\n```console\n$ sudo tcplab run %s\n```\n\n", x.Name, sentence(x.Summary), x.Question, x.Name)
	setup := x.Setup(x.Defaults())
	fmt.Fprintf(&b, "## Topology\n\n```text\n%s```\n\n", picture(setup))
	for _, f := range setup.Faults {
		fmt.Fprintf(&b, "Broken on purpose: the %s %s %s.\n\n```text\n", f.Host, f.Rule.Verb(), f.Rule.Text)
		for _, cmd := range f.Rule.Commands() {
			fmt.Fprintln(&b, cmd)
		}
		b.WriteString("```\n\n")
	}
	if err := parameters(&b, x); err != nil {
		return "", err
	}
	fmt.Fprintf(&b, "## Prediction\n\nNothing is run for these: the oracle computes them from the kernel's rules and the settings. The column *window* is when the "+
		"kernel's timer wheel lets\nthe event come, *gap* the time since the event before, *formula* the rule. The kernels are the ones of Debian 12 (6.1) and "+
		"Debian 13 (6.12).\n\n")
	for _, p := range experiments.Profiles() {
		for _, v := range modelled {
			text, err := predicted(x, p, v)
			if err != nil {
				return "", fmt.Errorf("profile %s, Linux %s: %w", p, v, err)
			}
			fmt.Fprintf(&b, "### Profile %s, Linux %s\n\n```console golden\n$ tcplab predict %s --profile=%s --kernel=%s --hz=%d\n%s```\n\n", p, v, x.Name, p, v, hz, text)
		}
	}
	if err := captures(&b, x, setup); err != nil {
		return "", err
	}
	more, err := texts.ReadFile("texts/" + x.Name + ".md")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	b.Write(more)
	return strings.TrimRight(b.String(), "\n") + "\n", nil
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// The two ways through a lab. A capture sits between the wire and netfilter.
const (
	toServer = "to the server  client TCP ── OUTPUT ── client.pcapng ══ veth ══ server.pcapng ── INPUT ─── server TCP :%d"
	toClient = "to the client  client TCP ── INPUT ─── client.pcapng ══ veth ══ server.pcapng ── OUTPUT ── server TCP"
)

// picture draws the way of a packet in both directions, with a cross under each chain that drops.
func picture(setup experiments.Setup) string {
	var b strings.Builder
	fmt.Fprintf(&b, "client %s                                                   server %s\n\n", lab.ClientAddr.Addr(), lab.ServerAddr.Addr())
	for _, to := range []string{"server", "client"} {
		line := toClient
		if to == "server" {
			line = fmt.Sprintf(toServer, setup.Listen[0].Port)
		}
		b.WriteString(line + "\n")
		for _, f := range setup.Faults {
			in := f.Rule.AfterCapture()
			if in != (f.Host == to) {
				continue
			}
			chain := "OUTPUT"
			if in {
				chain = "INPUT"
			}
			at := len([]rune(line[:strings.Index(line, chain)]))
			fmt.Fprintf(&b, "%s✗ %s %s\n", strings.Repeat(" ", at), f.Rule.Verb(), f.Rule.Text)
		}
	}
	return b.String()
}

// parameters is the table of what can be changed.
func parameters(b *strings.Builder, x *experiments.Experiment) error {
	fmt.Fprintf(b, "## Parameters\n\nThe profile decides what is not given. The profile `kernel` leaves each knob at the kernel's own default.\n\n"+
		"| flag | textbook | fast | kernel %s | kernel %s | what it is | sysctl |\n|---|---|---|---|---|---|---|\n", modelled[0], modelled[1])
	for _, q := range x.Params {
		row := []string{"`--" + q.Flag + "`", orDash(q.Textbook), orDash(q.Fast), "-", "-", q.Doc, "-"}
		if q.Sysctl != "" {
			k, ok := sysctl.Lookup(q.Sysctl)
			if !ok {
				return fmt.Errorf("%s: not in the catalogue", q.Sysctl)
			}
			for i, v := range modelled {
				facts, err := model(v)
				if err != nil {
					return err
				}
				since, err := kernel.ParseVersion(k.Since.First())
				if err == nil && !facts.Version.AtLeast(since.Major, since.Minor) {
					row[3+i] = "no such knob"
				} else if d, ok := k.DefaultFor(v); ok {
					row[3+i] = d
				}
			}
			row[6] = "`" + k.Name + "`"
		}
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
	}
	b.WriteString("\nAny other sysctl of the lab can be set with `--set`, such as `--set client.net.ipv4.tcp_sack=0`.\n\n")
	return nil
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func model(version string) (kernel.Facts, error) {
	v, err := kernel.ParseVersion(version)
	if err != nil {
		return kernel.Facts{}, err
	}
	return kernel.Model(v, hz)
}

// predicted is what `tcplab predict` prints for a profile and a kernel.
func predicted(x *experiments.Experiment, p experiments.Profile, version string) (string, error) {
	facts, err := model(version)
	if err != nil {
		return "", err
	}
	plan, err := x.Plan(p, nil, nil)
	if err != nil {
		return "", err
	}
	env, err := runner.Env(x, plan, facts)
	if err != nil {
		return "", err
	}
	pr, err := runner.Predict(x, plan, env)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	if err := report.PredictionText(&text, *pr, report.Style{}); err != nil {
		return "", err
	}
	return text.String(), nil
}

// captures says what each end's file shows.
func captures(b *strings.Builder, x *experiments.Experiment, setup experiments.Setup) error {
	b.WriteString("## Capture\n\nA run leaves one file for each end. A capture sits between the wire and netfilter.\n\n| what is lost | client.pcapng | server.pcapng |\n|---|---|---|\n")
	for _, f := range setup.Faults {
		row := map[string]string{"client": "shows it leave", "server": "shows it leave"}
		row[f.Host] = "shows it arrive, and the rule drops it after that"
		if !f.Rule.AfterCapture() {
			row = map[string]string{"client": "does not show it", "server": "does not show it"}
			row[f.Host] = "does not show it: the rule drops it before the capture"
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", f.Rule.Text, row["client"], row["server"])
	}
	b.WriteString("\nThe TCP states that each socket passes through, as inet_diag names them:\n\n| host | states |\n|---|---|\n")
	states, err := statesOf(x)
	if err != nil {
		return err
	}
	for _, h := range slices.Sorted(maps.Keys(states)) {
		fmt.Fprintf(b, "| %s | %s |\n", h, strings.Join(states[h], " → "))
	}
	b.WriteString("\n[The guide](../guide.md#the-captures-in-wireshark) shows how to open them.\n\n")
	return nil
}

// statesOf are the states of an experiment under the textbook profile on the newest of the modelled kernels.
func statesOf(x *experiments.Experiment) (map[string][]string, error) {
	if x.States == nil {
		return nil, nil
	}
	facts, err := model(modelled[len(modelled)-1])
	if err != nil {
		return nil, err
	}
	plan, err := x.Plan(experiments.Textbook, nil, nil)
	if err != nil {
		return nil, err
	}
	env, err := runner.Env(x, plan, facts)
	if err != nil {
		return nil, err
	}
	return x.States(env), nil
}
