package mysql

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/coffer-vault/coffer/internal/vault/rotation/rotator"
)

// placeholder stands for the account in a grant, so that those of two can be compared.
const placeholder = "\x00"

// compare refuses two accounts that have not the same grants.
func (s *session) compare(ctx context.Context, current, next string) error {
	of := map[string][]string{}
	for _, user := range []string{current, next} {
		found, err := s.grants(ctx, user)
		if err != nil {
			return s.explain("read the grants of "+user, err, rotator.ErrRights)
		}
		of[user] = found
	}
	missing := append(lacking(next, of[current], of[next]), lacking(current, of[next], of[current])...)
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	more := ""
	if most := 5; len(missing) > most {
		missing, more = missing[:most], fmt.Sprintf("; and %d more", len(missing)-most)
	}
	return fmt.Errorf("%w: the accounts %s and %s have not the same grants, so who moves from one to the other would lose some: %s%s",
		rotator.ErrSetup, current, next, strings.Join(missing, "; "), more)
}

// lacking are the grants that user has to be given to have all those wanted.
func lacking(user string, wanted, has []string) (missing []string) {
	for _, grant := range wanted {
		if !slices.Contains(has, grant) {
			missing = append(missing, strings.ReplaceAll(grant, placeholder, user))
		}
	}
	return missing
}

// grants are what the account is granted, with the placeholder for its name and without what identifies it.
func (s *session) grants(ctx context.Context, user string) ([]string, error) {
	rows, err := s.conn.QueryContext(ctx, "SHOW GRANTS FOR ?@?", user, s.config.accountHost())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var grant string
		if err := rows.Scan(&grant); err != nil {
			return nil, err
		}
		if grant = normalise(grant, user, s.config.accountHost()); grant != "GRANT USAGE ON *.* TO "+placeholder { // it is no right
			found = append(found, grant)
		}
	}
	return found, rows.Err()
}

// normalise makes the grants of two accounts comparable. What identifies an account (IDENTIFIED BY PASSWORD '*…',
// IDENTIFIED VIA … USING '…') goes up to the next clause; a verifier has no blanks.
func normalise(grant, user, host string) string {
	for _, quote := range []string{"`", "'"} {
		double := strings.NewReplacer(quote, quote+quote)
		grant = strings.ReplaceAll(grant, quote+double.Replace(user)+quote+"@"+quote+double.Replace(host)+quote, placeholder)
	}
	before, after, identified := strings.Cut(grant, " IDENTIFIED ")
	if !identified {
		return grant
	}
	for _, clause := range []string{" REQUIRE ", " WITH "} {
		if at := strings.Index(after, clause); at >= 0 {
			return before + after[at:]
		}
	}
	return before
}

// endSessions ends those that the account's user has, as long as the account is locked: if it is not, they are of a
// later rotation.
func (s *session) endSessions(ctx context.Context, user string) error {
	const doing = "end the sessions of "
	var created string
	if err := s.conn.QueryRowContext(ctx, "SHOW CREATE USER ?@?", user, s.config.accountHost()).Scan(&created); err != nil {
		return s.explain(doing+user, err, rotator.ErrRights)
	}
	if !strings.Contains(created, "ACCOUNT LOCK") {
		return nil
	}
	ids, err := s.sessions(ctx, user)
	if err != nil {
		return s.explain(doing+user, err, rotator.ErrRights)
	}
	for _, id := range ids {
		// One that has ended by itself meanwhile is no error.
		if _, err := s.conn.ExecContext(ctx, "KILL CONNECTION ?", id); err != nil && !isNumber(err, noSuchThread) {
			return s.explain(doing+user, err, rotator.ErrRights)
		}
	}
	return nil
}

func (s *session) sessions(ctx context.Context, user string) (ids []int64, err error) {
	rows, err := s.conn.QueryContext(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE USER = ?", user)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}
