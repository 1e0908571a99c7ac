package rotator

// Overlapper is a Rotator that knows whether it breaks who still uses the old credential.
type Overlapper interface {
	// Overlaps reports whether current and next are both accepted from Set until Finish or Revoke. Where it is false,
	// Set ends current at once, so consumers fail from then until they have next.
	Overlaps() bool
}

// Overlaps is r's own word, and true of one that gives none: it is what Rotator asks of Set.
func Overlaps(r Rotator) bool {
	o, ok := r.(Overlapper)
	return !ok || o.Overlaps()
}
