package generate

import (
	"crypto/rand"
	"fmt"
	"math/big"
	"slices"
)

// draw picks one of all texts of length that have the minimum of each class, each with the same probability. It draws
// first how many characters each class has, by how many texts there are with so many, then where they stand, then
// which they are. (To draw texts until one fits is as fair, and may take forever.)
func draw(length int, classes []class) (string, error) {
	counts, err := drawCounts(length, classes)
	if err != nil {
		return "", err
	}
	text := make([]byte, 0, length)
	for i, c := range classes {
		for range counts[i] {
			at, err := below(big.NewInt(int64(len(c.characters))))
			if err != nil {
				return "", err
			}
			text = append(text, c.characters[at.Int64()])
		}
	}
	if err := shuffle(text); err != nil {
		return "", err
	}
	return string(text), nil
}

// drawCounts draws how many characters of a text each class has.
func drawCounts(length int, classes []class) ([]int, error) {
	ways := countWays(length, classes)
	counts := make([]int, len(classes))
	left := length
	for i, c := range classes {
		pick, err := below(ways[i][left])
		if err != nil {
			return nil, err
		}
		for n := c.minimum; ; n++ {
			with := waysWith(c, n, left, ways[i+1])
			if pick.Cmp(with) < 0 {
				counts[i] = n
				left -= n
				break
			}
			pick.Sub(pick, with)
		}
	}
	return counts, nil
}

// countWays has at [i][n] how many texts of n characters there are of the classes from i on.
func countWays(length int, classes []class) [][]*big.Int {
	ways := make([][]*big.Int, len(classes)+1)
	for i := range ways {
		ways[i] = make([]*big.Int, length+1)
		for n := range ways[i] {
			ways[i][n] = new(big.Int)
		}
	}
	ways[len(classes)][0].SetInt64(1)
	for i, c := range slices.Backward(classes) {
		for n := range ways[i] {
			for own := c.minimum; own <= n; own++ {
				ways[i][n].Add(ways[i][n], waysWith(c, own, n, ways[i+1]))
			}
		}
	}
	return ways
}

// waysWith is how many texts of n characters have exactly own of c, when rest counts those of the other classes.
func waysWith(c class, own, n int, rest []*big.Int) *big.Int {
	total := new(big.Int)
	if rest[n-own].Sign() == 0 {
		return total
	}
	total.Exp(big.NewInt(int64(len(c.characters))), big.NewInt(int64(own)), nil)
	total.Mul(total, new(big.Int).Binomial(int64(n), int64(own)))
	return total.Mul(total, rest[n-own])
}

// shuffle is Fisher and Yates's: every order is as likely.
func shuffle(text []byte) error {
	for i := len(text) - 1; i > 0; i-- {
		j, err := below(big.NewInt(int64(i + 1)))
		if err != nil {
			return err
		}
		text[i], text[j.Int64()] = text[j.Int64()], text[i]
	}
	return nil
}

// below is a uniform random number from 0 to limit-1.
func below(limit *big.Int) (*big.Int, error) {
	n, err := rand.Int(rand.Reader, limit)
	if err != nil {
		return nil, fmt.Errorf("read random bytes: %w", err)
	}
	return n, nil
}
