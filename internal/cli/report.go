package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/explain"
	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/report/page"
	"github.com/tcplab/tcplab/internal/result"
	"github.com/tcplab/tcplab/internal/whole"
)

// forms are what stored runs can be printed as.
var forms = []string{"text", "ladder", "json", "junit", "markdown", "html", "svg"}

// reportFlags are the flags of report.
type reportFlags struct {
	form string
	html string // file
	lang string
	// partial: parts of a list need not be the whole
	partial bool
	as      map[string]*bool // --json for --format=json, and so on
}

func (a *app) reportCmd() *cobra.Command {
	f := &reportFlags{as: map[string]*bool{}}
	cmd := &cobra.Command{
		Use:   "report RUN... | MATRIX",
		Short: "show stored runs again",
		Long: `Report reads result.json of stored runs (a folder, or the file itself) and prints them as text, or in the form that --format names.
With --html it writes one page that opens in any browser; several runs share a page, and a table of all of them comes first.

The parts of a list of runs (--shard) are put together: every run must be there once, or nothing is shown and the exit code is 6. Their order and
the exit code are those of the run without parts. A folder that has folders of runs in it (--out of a part) stands for all of those.

The folder of a matrix is shown as the matrix: its table says what was predicted for each kernel, what changes from one to the next, and why.
Parts of a matrix are put together in the same way.`,
		Example: `  tcplab report tcplab-runs/latest
  tcplab report --html=all.html tcplab-runs/2026*
  tcplab report --format=junit tcplab-runs/*-exp1-syn-loss > junit.xml
  tcplab report --html=all.html part-1 part-2 part-3`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.report(cmd, f, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.form, "format", "text", strings.Join(forms[:len(forms)-1], ", ")+" or "+forms[len(forms)-1])
	fl.StringVar(&f.html, "html", "", "write the page to this file (alone or with -: to standard output)")
	fl.Lookup("html").NoOptDefVal = "-"
	for _, form := range []string{"json", "junit", "markdown", "svg"} {
		f.as[form] = fl.Bool(form, false, "the same as --format="+form)
	}
	fl.BoolVar(&f.partial, "partial", false, "show parts of a list of runs although others are missing")
	langFlag(cmd, &f.lang)
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(forms, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// langFlag adds --lang.
func langFlag(cmd *cobra.Command, lang *string) {
	cmd.Flags().StringVar(lang, "lang", "", "language that the page opens in: en or zh (default: that of the locale)")
	_ = cmd.RegisterFlagCompletionFunc("lang", cobra.FixedCompletions([]string{"en", "zh"}, cobra.ShellCompDirectiveNoFileComp))
}

// language is what --lang says, or else the locale.
func language(flag string) (page.Lang, error) {
	switch flag {
	case "en", "zh":
		return page.Lang(flag), nil
	case "":
	default:
		return "", usage(explain.ValueOutOfRange, fmt.Errorf("--lang=%s: want en or zh", flag))
	}
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := os.Getenv(name); v != "" {
			if strings.HasPrefix(strings.ToLower(v), "zh") {
				return page.Chinese, nil
			}
			break
		}
	}
	return page.English, nil
}

// file takes the page's name from the arguments where it stands apart from its flag: --html all.html. A result is never called so.
func (f *reportFlags) file(args []string) []string {
	i := slices.IndexFunc(args, func(s string) bool { return strings.HasSuffix(s, ".html") })
	if f.html != "-" || i < 0 || len(args) == 1 {
		return args
	}
	f.html = args[i]
	return slices.Delete(slices.Clone(args), i, i+1)
}

// check decides the one form that is printed; empty: the page goes to a file and nothing else is wanted.
func (f *reportFlags) check(changed func(string) bool) (string, error) {
	var chosen []string
	for form, on := range f.as {
		if *on {
			chosen = append(chosen, form)
		}
	}
	slices.Sort(chosen)
	if changed("format") {
		chosen = append(chosen, f.form)
	}
	if !slices.Contains(forms, f.form) {
		return "", usage(explain.ValueOutOfRange, fmt.Errorf("--format=%s: want %s or %s", f.form, strings.Join(forms[:len(forms)-1], ", "), forms[len(forms)-1]))
	}
	if f.html == "-" {
		chosen = append(chosen, "html")
	}
	switch {
	case len(chosen) > 1:
		return "", usage(explain.ValueOutOfRange, fmt.Errorf("%s all want standard output: choose one", strings.Join(chosen, ", ")))
	case len(chosen) == 1:
		return chosen[0], nil
	case f.html != "":
		return "", nil
	}
	return f.form, nil
}

func (a *app) report(cmd *cobra.Command, f *reportFlags, args []string) error {
	args = f.file(args)
	form, err := f.check(cmd.Flags().Changed)
	if err != nil {
		return err
	}
	lang, err := language(f.lang)
	if err != nil {
		return err
	}
	args = unfold(args)
	m, err := onlyMatrix(args, f.partial)
	if err != nil {
		return err
	}
	if m != nil {
		return a.reportMatrix(f, form, lang, m)
	}
	var stored []namedRun
	for _, path := range args {
		r, err := load(path)
		if err != nil {
			return err
		}
		stored = append(stored, namedRun{path, r})
	}
	stored, shared, err := merge(stored, f.partial)
	if err != nil {
		return err
	}
	args = nil
	var runs []*result.Result
	for _, s := range stored {
		args, runs = append(args, s.path), append(runs, s.Result)
		if shared {
			a.code = explain.Worst(a.code, s.Verdict.ExitCode())
		}
	}
	if f.html != "" && f.html != "-" {
		if err := writeWhole(f.html, func(w io.Writer) error { return page.HTML(w, page.Options{Lang: lang}, runs...) }); err != nil {
			return err
		}
		if form == "" {
			_, err := fmt.Fprintln(a.out, f.html)
			return err
		}
	}
	return a.render(form, lang, args, runs)
}

// writeWhole writes a page to a file, whole or not at all. It is drawn before the file is touched.
func writeWhole(name string, draw func(io.Writer) error) error {
	var drawn bytes.Buffer
	if err := draw(&drawn); err != nil {
		return fmt.Errorf("--html %s: %w", name, err)
	}
	give := func(f *os.File) error {
		_, err := handOver(f.Chown)
		return err
	}
	if info, err := os.Lstat(name); err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			give = func(f *os.File) error { // what takes another's place is its owner's; where root may not give it, root's
				_ = f.Chown(int(st.Uid), int(st.Gid))
				return nil
			}
		}
	}
	var unwritten error
	err := whole.File(name, func(f *os.File) error {
		_, unwritten = f.Write(drawn.Bytes())
		if info, err := f.Stat(); unwritten == nil && err == nil && info.Mode().IsRegular() {
			unwritten = errors.Join(f.Chmod(0o644), give(f))
		}
		return unwritten
	})
	switch {
	case unwritten != nil:
		return fmt.Errorf("--html %s: %w", name, unwritten)
	case err != nil:
		return usage(explain.OutputNotWritable, fmt.Errorf("--html: %w", err))
	}
	return nil
}

func (a *app) render(form string, lang page.Lang, args []string, runs []*result.Result) error {
	switch form {
	case "junit":
		return report.JUnit(a.out, runs...)
	case "json":
		if len(runs) == 1 {
			return report.JSON(a.out, runs[0])
		}
		return writeJSON(a.out, map[string]any{"schema": "tcplab.results/v1", "results": runs})
	case "markdown":
		return report.Markdown(a.out, runs...)
	case "html":
		return page.HTML(a.out, page.Options{Lang: lang}, runs...)
	case "svg":
		return page.SVG(a.out, page.Options{Lang: lang}, runs...)
	}
	for i, r := range runs {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		s := a.style(a.out)
		if form == "ladder" {
			if err := report.Ladder(a.out, r, s); err != nil {
				return err
			}
			continue
		}
		s.Dir = strings.TrimSuffix(filepath.ToSlash(args[i]), "/result.json")
		if err := report.Text(a.out, r, s); err != nil {
			return err
		}
	}
	return nil
}

// The pictures of a run in its folder.
const (
	pageFile   = "report.html"
	ladderFile = "ladder.svg"
)

// pictures writes report.html and ladder.svg of a run, once. The runner does not: a guest would draw for seconds what the host draws in
// none. Without a result there is nothing to draw.
func (f *folder) pictures(r *result.Result, lang page.Lang) error {
	if r == nil || f.drawn {
		return nil
	}
	f.drawn = true
	for name, draw := range map[string]func(io.Writer) error{
		ladderFile: func(w io.Writer) error { return page.SVG(w, page.Options{Lang: lang}, r) },
		pageFile:   func(w io.Writer) error { return page.HTML(w, page.Options{Lang: lang}, r) },
	} {
		half := name + ".part" // which the guard removes where we are killed
		file, err := f.open(half)
		if err == nil {
			err = errors.Join(draw(file), file.Close())
		}
		if err == nil {
			err = f.root.Rename(half, name)
		}
		if err != nil {
			_ = f.root.Remove(half)
			return fmt.Errorf("write %s/%s: %w", f.path, name, err)
		}
	}
	return nil
}
