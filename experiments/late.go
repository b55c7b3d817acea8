package experiments

import (
	"errors"
	"fmt"
	"time"

	"github.com/tcplab/tcplab/internal/kernel"
)

// ErrLate is wrapped by the error of a Run that broke something later than the prediction says: the machine was too busy, and what was seen proves
// nothing.
var ErrLate = errors.New("the machine was so busy that the run was not as planned")

// inTime is nil where the rule that was just made stands before an instant of CLOCK_MONOTONIC from which on it shows.
func inTime(before time.Duration) error {
	now, err := kernel.MonotonicNow()
	if err != nil {
		return err
	}
	if late := now - before; late >= 0 {
		return fmt.Errorf("%w: the peer was to be dead %v before its rule stood", ErrLate, late.Round(time.Millisecond))
	}
	return nil
}
