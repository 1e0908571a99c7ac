package notify

import (
	"math/rand/v2"
	"time"
)

// Pace is the time between attempts to deliver: First after the first, and twice as long each time up to Longest.
type Pace struct{ First, Longest time.Duration }

// UsualPace is for receivers that people run.
func UsualPace() Pace { return Pace{First: 5 * time.Second, Longest: 15 * time.Minute} }

// wait is the time after some attempts, up to a fifth longer or shorter, so that what failed together does not come again together.
func (p Pace) wait(attempts int) time.Duration {
	wait := p.First
	for range min(attempts-1, 30) {
		wait = min(2*wait, p.Longest)
	}
	return wait + time.Duration((rand.Float64()-0.5)*0.4*float64(wait))
}
