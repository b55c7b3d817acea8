package report

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/result"
)

type junitSuites struct {
	XMLName xml.Name `xml:"testsuites"`
	Name    string   `xml:"name,attr"`
	junitCounts
	Suites []junitSuite `xml:"testsuite"`
	took   time.Duration
}

type junitCounts struct {
	Tests    int    `xml:"tests,attr"`
	Failures int    `xml:"failures,attr"`
	Errors   int    `xml:"errors,attr"`
	Skipped  int    `xml:"skipped,attr"`
	Time     string `xml:"time,attr"`
}

type junitSuite struct {
	Name      string `xml:"name,attr"`
	Timestamp string `xml:"timestamp,attr,omitempty"`
	junitCounts
	Properties []junitProperty `xml:"properties>property"`
	Cases      []junitCase     `xml:"testcase"`
}

type junitProperty struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

type junitCase struct {
	Classname string       `xml:"classname,attr"`
	Name      string       `xml:"name,attr"`
	Time      string       `xml:"time,attr"`
	Failure   *junitDetail `xml:"failure"`
	Error     *junitDetail `xml:"error"`
	Skipped   *junitDetail `xml:"skipped"`
}

type junitDetail struct {
	Message string `xml:"message,attr,omitempty"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",cdata"`
}

// JUnit writes the runs as one JUnit document: a testsuite for each run, a testcase for each check, the kernel and every sysctl that
// was set as properties. A contradicted check is a failure; inconclusive, unable and error are errors of that type, because a CI that
// took them for a pass would be wrong. A testcase's time is the time since the event before. A run whose own verdict is worse than
// that of its checks gets a testcase named "run" that says so.
func JUnit(w io.Writer, runs ...*result.Result) error {
	doc := junitSuites{Name: "tcplab"}
	for _, r := range runs {
		doc.add(suite(r, clean(r.Experiment.Name)), r.Wall.Duration())
	}
	return doc.write(w)
}

// MatrixJUnit writes a matrix as one JUnit document: a testsuite for each experiment and kernel, named "exp1-syn-loss on 6.12". Without a
// result it has one testcase, "run", which is an error. runs holds the results by kernel name and experiment. What changes between kernels is no failure.
func MatrixJUnit(w io.Writer, m *result.Matrix, runs map[[2]string]*result.Result) error {
	doc := junitSuites{Name: "tcplab matrix"}
	for _, row := range m.Rows {
		for _, c := range row.Cells {
			name := clean(row.Experiment + " on " + c.Kernel)
			if r := runs[[2]string{c.Kernel, row.Experiment}]; r != nil {
				doc.add(suite(r, name), c.Took.Duration())
				continue
			}
			s := junitSuite{Name: name, junitCounts: junitCounts{Time: junitTime(0)}}
			tc := junitCase{Classname: className(name), Name: "run", Time: s.Time}
			s.judge(&tc, c.Verdict, c.Error, clean(c.Error))
			s.Cases = append(s.Cases, tc)
			doc.add(s, 0)
		}
	}
	return doc.write(w)
}

// add counts a suite that took so long.
func (d *junitSuites) add(s junitSuite, took time.Duration) {
	s.Tests = len(s.Cases)
	d.Suites = append(d.Suites, s)
	d.Tests += s.Tests
	d.Failures += s.Failures
	d.Errors += s.Errors
	d.Skipped += s.Skipped
	d.took += took
}

func (d *junitSuites) write(w io.Writer) error {
	d.Time = junitTime(d.took)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(d); err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", max(d, 0).Seconds()) }

// className groups testcases. A dot in it parts packages for those who read it, so a kernel's version must have none.
func className(suite string) string { return "tcplab." + strings.ReplaceAll(suite, ".", "_") }

func suite(r *result.Result, name string) junitSuite {
	s := junitSuite{Name: name, Properties: properties(r)}
	if !r.Started.IsZero() {
		s.Timestamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	s.Time = junitTime(r.Wall.Duration())
	worst := result.Pass
	gaps := eventGaps(r)
	for _, c := range r.Checks {
		worst = result.Worse(worst, c.Verdict)
		tc := junitCase{Classname: className(s.Name), Name: clean(checkName(c)), Time: junitTime(gaps[c.ID])}
		s.judge(&tc, c.Verdict, checkMessage(c), checkText(r, c))
		s.Cases = append(s.Cases, tc)
	}
	if len(r.Checks) == 0 || result.Worse(worst, r.Verdict) != worst {
		tc := junitCase{Classname: className(s.Name), Name: "run", Time: s.Time}
		s.judge(&tc, r.Verdict, r.Reason, clean(r.Reason))
		s.Cases = append(s.Cases, tc)
	}
	return s
}

// judge puts the verdict into a testcase and counts it.
func (s *junitSuite) judge(tc *junitCase, v result.Verdict, message, text string) {
	d := &junitDetail{Message: clean(message), Type: string(v), Text: text}
	switch v {
	case result.Pass:
	case result.Fail:
		tc.Failure = d
		s.Failures++
	case result.Skip:
		d.Type, d.Text = "", ""
		tc.Skipped = d
		s.Skipped++
	default:
		tc.Error = d
		s.Errors++
	}
}

func checkMessage(c result.Check) string {
	if c.Verdict == result.Skip && c.Detail != "" {
		return c.Detail
	}
	msg := fmt.Sprintf("%s: got %s, want %s", checkName(c), c.Observed, c.Expected)
	if c.Code != "" {
		msg += " (" + c.Code + ")"
	}
	return msg
}

// checkText is the body of a failure: what the text report says about the check.
func checkText(r *result.Result, c result.Check) string {
	one := *r
	one.Checks = []result.Check{c}
	one.Verdict = c.Verdict
	p := newPen(Style{})
	p.failure(&one)
	return "\n" + p.b.String()
}

func properties(r *result.Result) []junitProperty {
	var out []junitProperty
	add := func(name, value string) { out = append(out, junitProperty{clean(name), clean(value)}) }
	add("tcplab.version", r.Tool.Version)
	add("kernel", r.Kernel.Release)
	add("arch", r.Kernel.Arch)
	add("hz", fmt.Sprint(r.Kernel.HZ))
	add("profile", r.Profile)
	add("verdict", string(r.Verdict))
	if len(r.Command) > 0 {
		add("command", strings.Join(r.Command, " "))
	}
	for _, p := range r.Params {
		add("param."+p.Name, p.Value)
	}
	for _, s := range r.Sysctls {
		add("sysctl."+s.Host+"."+s.Name, s.Now)
	}
	return out
}

// eventGaps maps a check's ID to the time between the event that it judges and the event before.
func eventGaps(r *result.Result) map[string]time.Duration {
	gaps := map[string]time.Duration{}
	last := map[string]time.Duration{}
	note := func(e result.Event) {
		if e.Seen == nil {
			return
		}
		at := e.Seen.Duration()
		id := e.What
		if e.N > 0 {
			id = fmt.Sprintf("%s-%d", e.What, e.N)
		}
		chain := e.Host + " " + e.Chain
		gaps[id] = at - last[chain]
		last[chain] = at
	}
	for _, e := range r.Events {
		note(e)
	}
	if r.Outcome != nil {
		note(*r.Outcome)
	}
	return gaps
}
