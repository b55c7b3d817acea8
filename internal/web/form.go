package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/report"
	"github.com/tcplab/tcplab/internal/result"
)

// profiles in the order of the form, the default first.
var profiles = []string{"textbook", "kernel", "fast"}

// beginWithin is how long a new run may take until its folder is there before the browser is sent to the list instead.
const beginWithin = 4 * time.Second

// catalogue lists the experiments.
func (s *Server) catalogue(w http.ResponseWriter, r *http.Request) error {
	s.show(w, r, http.StatusOK, "catalogue", view{Title: s.words(r).t("New run"), Here: "new", Data: s.Catalogue})
	return nil
}

// formData is the form of one experiment, or its prediction.
type formData struct {
	Experiment Experiment
	Request    Request
	Profiles   []string
	Kernels    []string
	Problems   map[string]string // by flag, "" for the whole
	Command    string
	Heads      []string
	Rows       []liveRow // of a prediction
	Notes      []result.Note
	Predicted  bool
	On         string // the kernel that a prediction is for
}

// experiment finds what the path names.
func (s *Server) experiment(r *http.Request) (Experiment, error) {
	i := slices.IndexFunc(s.Catalogue, func(x Experiment) bool { return x.Name == r.PathValue("experiment") })
	if i < 0 || s.Lab == nil {
		return Experiment{}, errNoRun
	}
	return s.Catalogue[i], nil
}

// request reads a form, as far as it has the fields of an experiment.
func (s *Server) request(x Experiment, form url.Values) (Request, map[string]string) {
	q := Request{Experiment: x.Name, Profile: form.Get("profile"), Kernel: form.Get("kernel"), Values: map[string]string{}}
	if q.Profile == "" {
		q.Profile = profiles[0]
	}
	problems := map[string]string{}
	if !slices.Contains(profiles, q.Profile) {
		problems[""] = fmt.Sprintf("profile %q: want textbook, kernel or fast", q.Profile)
	}
	if q.Kernel != "" && !slices.Contains(s.Kernels, q.Kernel) {
		problems[""] = "this kernel is not here: `tcplab kernels list`"
	}
	for _, p := range x.Params {
		if value := form.Get("p-" + p.Flag); value != "" {
			q.Values[p.Flag] = value
		}
	}
	if len(problems) == 0 {
		problems = s.Lab.Check(q)
	}
	return q, problems
}

func (s *Server) formData(x Experiment, q Request, problems map[string]string) formData {
	d := formData{Experiment: x, Request: q, Profiles: profiles, Kernels: s.Kernels, Problems: problems}
	if len(problems) == 0 {
		d.Command = s.Lab.Command(q)
	}
	return d
}

// form shows the parameters of an experiment.
func (s *Server) form(w http.ResponseWriter, r *http.Request) error {
	x, err := s.experiment(r)
	if err != nil {
		return err
	}
	q, problems := s.request(x, r.URL.Query())
	s.show(w, r, http.StatusOK, "form", view{Title: x.Name, Here: "new", Data: s.formData(x, q, problems)})
	return nil
}

// predict shows the same with what will happen. It only computes.
func (s *Server) predict(w http.ResponseWriter, r *http.Request) error {
	x, err := s.experiment(r)
	if err != nil {
		return err
	}
	q, problems := s.request(x, r.URL.Query())
	d := s.formData(x, q, problems)
	status := http.StatusUnprocessableEntity
	if len(problems) == 0 {
		done, err := s.working(r.Context())
		if err != nil {
			return err
		}
		p, err := s.Lab.Predict(q)
		done()
		if err != nil {
			d.Problems = map[string]string{"": err.Error()}
		} else {
			status = http.StatusOK
			d.fill(s.words(r), p)
		}
	}
	s.show(w, r, status, "form", view{Title: x.Name, Here: "new", Data: d})
	return nil
}

func (d *formData) fill(v words, p *result.Prediction) {
	d.Predicted, d.Notes = true, p.Notes
	d.On = report.KernelName(result.Kernel{Version: p.Kernel, HZ: p.HZ})
	for _, h := range []string{"host", "event", "nominal", "window", "formula"} {
		d.Heads = append(d.Heads, v.t(h))
	}
	events := p.Events
	if p.Outcome != nil {
		events = append(slices.Clone(events), *p.Outcome)
	}
	for _, e := range events {
		row := v.row(e)
		row.Cells = []string{row.Cells[1], row.Cells[2], row.Cells[3], row.Cells[4], v.t(e.Why)}
		d.Rows = append(d.Rows, row)
	}
	slices.SortStableFunc(d.Rows, byTime)
}

// start starts a run, where that is allowed.
func (s *Server) start(w http.ResponseWriter, r *http.Request) error {
	if err := s.posted(r); err != nil {
		return err
	}
	if !s.AllowRun {
		return &problem{http.StatusForbidden, "runs are started in the terminal: this page was not allowed to (--allow-run)"}
	}
	x, err := s.experiment(r)
	if err != nil {
		return err
	}
	q, problems := s.request(x, r.PostForm)
	status := http.StatusUnprocessableEntity
	if len(problems) == 0 {
		j, err := s.jobs.start(s.Lab, q)
		if err == nil {
			return s.sent(w, r, j, x, q)
		}
		status, problems = http.StatusConflict, map[string]string{"": err.Error()}
	}
	s.show(w, r, status, "form", view{Title: x.Name, Here: "new", Data: s.formData(x, q, problems)})
	return nil
}

// sent leads to the new run as soon as it has a folder.
func (s *Server) sent(w http.ResponseWriter, r *http.Request, j *job, x Experiment, q Request) error {
	wait := time.NewTimer(beginWithin)
	defer wait.Stop()
	select {
	case <-j.begun:
	case <-j.done:
	case <-wait.C:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	now, last := s.jobs.state()
	switch {
	case now != nil && now.Name != "":
		http.Redirect(w, r, s.path("/runs/"+url.PathEscape(now.Name)+"/"), http.StatusSeeOther)
	case now == nil && last != "":
		s.show(w, r, http.StatusServiceUnavailable, "form", view{Title: x.Name, Here: "new", Data: s.formData(x, q, map[string]string{"": last})})
	default: // it has no folder yet, as in a machine that boots, or it is over already
		http.Redirect(w, r, s.path("/"), http.StatusSeeOther)
	}
	return nil
}

// stop ends the run that goes on.
func (s *Server) stop(w http.ResponseWriter, r *http.Request) error {
	if err := s.posted(r); err != nil {
		return err
	}
	if !s.AllowRun {
		return &problem{http.StatusForbidden, "this page was not allowed to start or stop runs (--allow-run)"}
	}
	s.jobs.stop()
	http.Redirect(w, r, s.path("/"), http.StatusSeeOther)
	return nil
}
