// Reads what Trialtrail writes, and writes what Trialtrail must read, with golang.org/x/mod and nothing of ours.
//
// Questions stand on standard input as a JSON array; the answers go to standard output in the same order. An answer
// without an error means that what was shown was accepted.
package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Check string

	Vkey, Note, Receipt, Directory, Text string
	Names                                []string
	Payload, Entry, Bundle               []byte
	Index, Size, Old, New                int64
	Root, OldRoot, NewRoot               tlog.Hash
	Path                                 []tlog.Hash
	Sizes                                []int64
	Inclusion, Consistency               [][2]int64
}

type answer struct {
	Error       string
	Text        string        `json:",omitempty"`
	Note        string        `json:",omitempty"`
	Unverified  []string      `json:",omitempty"`
	Vkeys       []string      `json:",omitempty"`
	Size        int64         `json:",omitempty"`
	Roots       []tlog.Hash   `json:",omitempty"`
	Inclusion   [][]tlog.Hash `json:",omitempty"`
	Consistency [][]tlog.Hash `json:",omitempty"`
}

func main() {
	var questions []question
	if err := json.NewDecoder(os.Stdin).Decode(&questions); err != nil {
		log.Fatal(err)
	}
	answers := make([]answer, len(questions))
	for i, q := range questions {
		if err := q.answer(&answers[i]); err != nil {
			answers[i].Error = err.Error()
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func (q question) answer(a *answer) error {
	switch q.Check {
	case "note":
		return q.openNote(a)
	case "receipt":
		return q.receipt()
	case "inclusion":
		return tlog.CheckRecord(q.Path, q.Size, q.Root, q.Index, tlog.RecordHash(q.Entry))
	case "consistency":
		return tlog.CheckTree(q.Path, q.New, q.NewRoot, q.Old, q.OldRoot)
	case "tiles":
		return q.tiles(a)
	case "sign":
		return q.sign(a)
	case "prove":
		return q.prove(a)
	}
	log.Fatalf("no such check: %q", q.Check)
	return nil
}

// openNote opens a note and writes it again, with the signatures that it could not verify.
func (q question) openNote(a *answer) error {
	opened, err := open(q.Note, q.Vkey)
	if err != nil {
		return err
	}
	again, err := note.Sign(opened)
	if err != nil {
		return err
	}
	a.Text, a.Note = opened.Text, string(again)
	for _, one := range opened.UnverifiedSigs {
		a.Unverified = append(a.Unverified, one.Name)
	}
	return nil
}

func open(text, vkey string) (*note.Note, error) {
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, err
	}
	return note.Open([]byte(text), note.VerifierList(verifier))
}

// openCheckpoint gives the tree that a checkpoint of the log with this key is about.
func openCheckpoint(text, vkey string) (tlog.Tree, error) {
	opened, err := open(text, vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	name, _, _ := strings.Cut(vkey, "+")
	origin, rest, _ := strings.Cut(opened.Text, "\n")
	if origin != name {
		return tlog.Tree{}, fmt.Errorf("the checkpoint is one of %q", origin)
	}
	// tlog reads the same lines, below the name of the one log it was made for.
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
}

// receipt checks a c2sp.org/tlog-proof of the entry that its extra line and the payload make up.
func (q question) receipt() error {
	head, checkpoint, found := strings.Cut(q.Receipt, "\n\n")
	lines := strings.Split(head, "\n")
	if !found || len(lines) < 3 || lines[0] != "c2sp.org/tlog-proof@v1" {
		return errors.New("not a tlog-proof")
	}
	if !strings.HasPrefix(lines[1], "extra ") || !strings.HasPrefix(lines[2], "index ") {
		return errors.New("not a tlog-proof of an entry with a header")
	}
	header, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(lines[1], "extra "))
	if err != nil {
		return err
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[2], "index "), 10, 64)
	if err != nil {
		return err
	}
	var path tlog.RecordProof
	for _, line := range lines[3:] {
		hash, err := tlog.ParseHash(line)
		if err != nil {
			return err
		}
		path = append(path, hash)
	}
	tree, err := openCheckpoint(checkpoint, q.Vkey)
	if err != nil {
		return err
	}
	leaf := tlog.RecordHash(append(append(header, '\n'), q.Payload...))
	return tlog.CheckRecord(path, tree.N, tree.Hash, index, leaf)
}

// A directory holds a log as c2sp.org/tlog-tiles lays it out; tlog's own paths name the height as well.
type directory string

func (d directory) Height() int { return 8 }

func (d directory) SaveTiles([]tlog.Tile, [][]byte) {}

func (d directory) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var read [][]byte
	for _, tile := range tiles {
		data, err := d.read(tile.Path())
		if err != nil {
			return nil, err
		}
		read = append(read, data)
	}
	return read, nil
}

// read takes tlog's path of a tile of height 8.
func (d directory) read(path string) ([]byte, error) {
	return os.ReadFile(filepath.Join(string(d), strings.Replace(path, "tile/8/", "tile/", 1)))
}

// tiles checks a whole published log: its checkpoint, every hash in its tiles, every entry in its bundles.
func (q question) tiles(a *answer) error {
	published := directory(q.Directory)
	checkpoint, err := os.ReadFile(filepath.Join(q.Directory, "checkpoint"))
	if err != nil {
		return err
	}
	tree, err := openCheckpoint(string(checkpoint), q.Vkey)
	if err != nil {
		return err
	}
	reader := tlog.TileHashReader(tree, published)
	for first := int64(0); first < tree.N; first += 256 {
		width := tree.N - first
		if width > 256 {
			width = 256
		}
		tile := tlog.Tile{H: 8, L: 0, N: first / 256, W: int(width)}
		bundle, err := published.read(strings.Replace(tile.Path(), "tile/8/0/", "tile/8/entries/", 1))
		if err != nil {
			return err
		}
		entries, err := split(bundle)
		if err != nil || int64(len(entries)) != width {
			return fmt.Errorf("bundle %d has %d entries: %v", tile.N, len(entries), err)
		}
		for i, entry := range entries {
			index := first + int64(i)
			path, err := tlog.ProveRecord(tree.N, index, reader)
			if err != nil {
				return err
			}
			if err := tlog.CheckRecord(path, tree.N, tree.Hash, index, tlog.RecordHash(entry)); err != nil {
				return fmt.Errorf("entry %d: %w", index, err)
			}
		}
	}
	a.Size = tree.N
	return nil
}

// split takes the entries out of a bundle: each stands behind its length in two bytes.
func split(bundle []byte) ([][]byte, error) {
	var entries [][]byte
	for len(bundle) > 0 {
		if len(bundle) < 2 {
			return nil, errors.New("half a length")
		}
		length := int(binary.BigEndian.Uint16(bundle))
		if len(bundle) < 2+length {
			return nil, errors.New("half an entry")
		}
		entries, bundle = append(entries, bundle[2:2+length]), bundle[2+length:]
	}
	return entries, nil
}

// sign signs a text with a new key under each name.
func (q question) sign(a *answer) error {
	var signers []note.Signer
	for _, name := range q.Names {
		private, vkey, err := note.GenerateKey(rand.Reader, name)
		if err != nil {
			return err
		}
		signer, err := note.NewSigner(private)
		if err != nil {
			return err
		}
		signers, a.Vkeys = append(signers, signer), append(a.Vkeys, vkey)
	}
	signed, err := note.Sign(&note.Note{Text: q.Text}, signers...)
	a.Note = string(signed)
	return err
}

// prove hashes entries to a tree of its own, and makes the proofs asked for: (size, index) and (size, older size).
func (q question) prove(a *answer) error {
	entries, err := split(q.Bundle)
	if err != nil {
		return err
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		var read []tlog.Hash
		for _, index := range indexes {
			read = append(read, stored[index])
		}
		return read, nil
	})
	for n, entry := range entries {
		hashes, err := tlog.StoredHashes(int64(n), entry, reader)
		if err != nil {
			return err
		}
		stored = append(stored, hashes...)
	}
	for _, size := range q.Sizes {
		root, err := tlog.TreeHash(size, reader)
		if err != nil {
			return err
		}
		a.Roots = append(a.Roots, root)
	}
	for _, one := range q.Inclusion {
		path, err := tlog.ProveRecord(one[0], one[1], reader)
		if err != nil {
			return err
		}
		a.Inclusion = append(a.Inclusion, path)
	}
	for _, one := range q.Consistency {
		path, err := tlog.ProveTree(one[0], one[1], reader)
		if err != nil {
			return err
		}
		a.Consistency = append(a.Consistency, path)
	}
	return nil
}
