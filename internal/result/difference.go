package result

// Cause is one difference between two kernels, or two settings, that changes a prediction. It was tested: A was predicted again with
// this one thing as B has it.
type Cause struct {
	Name  string `json:"name"` // a sysctl "net.ipv4.tcp_syn_linear_timeouts", or a fact of kernel.Facts.Table: "SYN expiry"
	A     string `json:"a"`    // its value on either side; empty: there is none
	B     string `json:"b"`
	Since string `json:"since,omitempty"` // the first kernel that has the knob; empty: not known, or always there
	Code  string `json:"code,omitempty"`  // `tcplab explain` knows more
	// Whole is true where this alone makes A's prediction B's.
	Whole bool `json:"whole"`
	// Changes is how many events of A it moves, adds or takes away.
	Changes int `json:"changes"`
}

// Difference is what two runs of one experiment, A and B, do not share, and why.
type Difference struct {
	Predicted []Change      `json:"predicted"`
	Checks    []CheckChange `json:"checks"` // whose verdicts differ, or that only one run has
	Causes    []Cause       `json:"causes"`
	Explained bool          `json:"explained"`          // the causes are all that it takes
	NoCause   string        `json:"no_cause,omitempty"` // why no cause was looked for
}

// Nothing reports whether the two runs share all that is compared.
func (d Difference) Nothing() bool { return len(d.Predicted)+len(d.Checks) == 0 }

// CheckChange is a check that went another way; an empty verdict: the run has no such check.
type CheckChange struct {
	ID       string     `json:"id"`
	Verdicts [2]Verdict `json:"verdicts"`
}
