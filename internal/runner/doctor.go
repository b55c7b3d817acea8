package runner

// State is how a Finding of doctor stands.
type State string

// The states.
const (
	OK      State = "ok"
	Missing State = "missing" // experiments cannot run
	Lesser  State = "note"    // experiments run, with less to show
)

// Finding is one thing that doctor looked at.
type Finding struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Value string `json:"value"`          // what was found
	Cure  string `json:"cure,omitempty"` // what to do, where it is not OK
	Code  string `json:"code,omitempty"` // `tcplab explain` knows more
}
