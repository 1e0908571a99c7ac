package audit

import (
	"sync"

	"github.com/google/uuid"
)

// Lanes are the writers of one process. A lane belongs to one transaction at a time,
// from before its rows are linked until it is known how its commit went; so the rows of a writer
// commit in their order. There are as many lanes as there were transactions at a
// time; the zero value has none.
type Lanes struct {
	mu   sync.Mutex
	free []Head
}

// Take gives the head of a free lane, or of a new one, to the caller alone.
func (l *Lanes) Take() Head {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := len(l.free) - 1; last >= 0 {
		head := l.free[last] // the one used last, so that few are used
		l.free = l.free[:last]
		return head
	}
	return Head{Writer: uuid.New()}
}

// Return gives a lane back with the head that it has in the database. A lane
// whose head is not known, because the answer to a commit got lost, is not returned:
// its rows may be there or not, and another lane takes its place.
func (l *Lanes) Return(head Head) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.free = append(l.free, head)
}
