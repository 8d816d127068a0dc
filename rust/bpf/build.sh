#!/bin/sh
# Builds the BPF objects into the folder that $1 names. The same compiler gives the same bytes in whatever folder: nothing of the
# machine goes in, and of the debugger's sections only the types stay, which the loader needs (.BTF, .BTF.ext).
set -eu
into=$(realpath "$1")
cd "$(dirname "$0")"
clang=${CLANG:-clang-14}
strip=${LLVM_STRIP:-llvm-strip-14}
for name in table births; do
	"$clang" --target=bpfel -mcpu=v2 -O2 -g -Wall -Wextra -Werror -ffile-prefix-map="$PWD"=. -fdebug-compilation-dir=. -c "$name.bpf.c" -o "$into/$name.bpf.o.new"
	"$strip" --strip-debug "$into/$name.bpf.o.new"
	mv "$into/$name.bpf.o.new" "$into/$name.bpf.o"
done
