package result

// Shard says which part of a list of runs a process had, and which run of the list this is. Both count from 1.
type Shard struct {
	Index int    `json:"index"`
	Count int    `json:"count"`
	Run   int    `json:"run,omitempty"` // of a matrix each row has its number
	Runs  int    `json:"runs"`          // in the whole list; of a matrix: rows
	List  string `json:"list"`          // a hash of the whole list: parts of another list do not belong together
}
