# Some of everything that programs in Perl do: hashes, arrays, regular expressions, strings, calls.
use strict;

sub collatz {
	my ($n) = @_;
	my $steps = 0;
	while ($n != 1) {
		$n = $n % 2 ? 3 * $n + 1 : $n / 2;
		$steps++;
	}
	return $steps;
}

for my $round (1 .. $ARGV[0]) {
	my (%count, @list);
	for my $i (1 .. 4000) {
		my $word = sprintf("w%03d-%x", $i * 7919 % 997, $i);
		$count{$1}++ if $word =~ /^(w\d+)-([0-9a-f]+)$/;
		$word =~ s/(\d)/<$1>/g;
		push @list, length($word) . reverse($word);
	}
	my $steps = 0;
	$steps += collatz($_) for 1 .. 300;
	print join(",", map { "$_=$count{$_}" } (sort { $count{$b} <=> $count{$a} || $a cmp $b } keys %count)[0 .. 9]), " ";
	print $steps, " ", (sort @list)[100], "\n";
}
