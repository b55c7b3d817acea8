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
	var total time.Duration
	for _, r := range runs {
		s := suite(r)
		doc.Suites = append(doc.Suites, s)
		doc.Tests += s.Tests
		doc.Failures += s.Failures
		doc.Errors += s.Errors
		doc.Skipped += s.Skipped
		total += r.Wall.Duration()
	}
	doc.Time = junitTime(total)
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	enc := xml.NewEncoder(w)
	enc.Indent("", "  ")
	if err := enc.Encode(doc); err != nil {
		return fmt.Errorf("junit: %w", err)
	}
	_, err := io.WriteString(w, "\n")
	return err
}

func junitTime(d time.Duration) string { return fmt.Sprintf("%.3f", max(d, 0).Seconds()) }

func suite(r *result.Result) junitSuite {
	s := junitSuite{Name: clean(r.Experiment.Name), Properties: properties(r)}
	if !r.Started.IsZero() {
		s.Timestamp = r.Started.UTC().Format("2006-01-02T15:04:05")
	}
	s.Time = junitTime(r.Wall.Duration())
	worst := result.Pass
	gaps := eventGaps(r)
	for _, c := range r.Checks {
		worst = result.Worse(worst, c.Verdict)
		tc := junitCase{Classname: "tcplab." + s.Name, Name: clean(checkName(c)), Time: junitTime(gaps[c.ID])}
		s.judge(&tc, c.Verdict, checkMessage(c), checkText(r, c))
		s.Cases = append(s.Cases, tc)
	}
	if len(r.Checks) == 0 || result.Worse(worst, r.Verdict) != worst {
		tc := junitCase{Classname: "tcplab." + s.Name, Name: "run", Time: s.Time}
		s.judge(&tc, r.Verdict, r.Reason, clean(r.Reason))
		s.Cases = append(s.Cases, tc)
	}
	s.Tests = len(s.Cases)
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
