/* SPDX-License-Identifier: MIT */
/* The transcript and its result. Owns the text and words heard so far; decodes and reads nothing. */
#include "tasks/speech/report.h"

#define PAUSE_LEAST 0.5 /* seconds without a word that count as a pause */
#define PAUSES_MAX 200

void transcript_add(struct transcript *transcript, const char *text, const struct words *words)
{
    if (*text == '\0')
        return;
    if (transcript->text.len)
        buf_append_char(&transcript->text, ' ');
    buf_append_text(&transcript->text, text);
    if (words)
        spoken_append(&transcript->words, words);
    transcript->utterances++;
}

void transcript_warn(struct transcript *transcript, const char *warning)
{
    for (size_t i = 0; i < transcript->warning_count; i++)
        if (strcmp(transcript->warnings[i], warning) == 0)
            return;
    if (transcript->warning_count < REPORT_WARNINGS)
        transcript->warnings[transcript->warning_count++] = warning;
}

void transcript_free(struct transcript *transcript)
{
    buf_free(&transcript->text);
    spoken_free(&transcript->words);
}

/* Number, total and longest of the gaps between words, and where they are. */
static json_t *pauses(const struct words *words)
{
    json_t *list = json_array();
    double total = 0, longest = 0;
    size_t count = 0;
    for (size_t i = 1; i < words->count; i++) {
        double start = words->list[i - 1].end, gap = words->list[i].start - start;
        if (gap < PAUSE_LEAST)
            continue;
        total += gap;
        longest = gap > longest ? gap : longest;
        if (count++ < PAUSES_MAX)
            json_array_append_new(list, json_pack("{s:o, s:o}", "start", json_hundredths(start), "end",
                                                  json_hundredths(words->list[i].start)));
    }
    return json_pack("{s:i, s:o, s:o, s:o}", "count", (int)count, "total_s", json_hundredths(total),
                     "longest_s", json_hundredths(longest), "list", list);
}

/* From the first word's start to the last one's end; without times, of the whole stream. */
static double words_per_minute(const struct transcript *transcript)
{
    const struct words *words = &transcript->words;
    size_t count = words->count;
    double seconds = transcript->duration_s;
    if (count)
        seconds = words->list[count - 1].end - words->list[0].start;
    else
        for (size_t i = 0; i < transcript->text.len; i++)
            count += i == 0 || transcript->text.data[i] == ' ';
    return seconds > 0 ? 60 * (double)count / seconds : 0;
}

json_t *transcript_result(struct transcript *transcript)
{
    if (transcript->words.count > REPORT_WORDS_MAX)
        transcript_warn(transcript, "words_omitted");
    struct span text = buf_span(&transcript->text);
    json_t *warnings = transcript->warning_count ? json_array() : NULL;
    for (size_t i = 0; i < transcript->warning_count; i++)
        json_array_append_new(warnings, json_string(transcript->warnings[i]));
    return json_pack("{s:s%, s:o, s:o, s:o, s:o, s:i, s:s, s:o*, s:o*, s:o*}", "text", text.p, text.n,
                     "words", spoken_json(&transcript->words, REPORT_WORDS_MAX), "duration_s",
                     json_hundredths(transcript->duration_s), "words_per_minute",
                     json_hundredths(words_per_minute(transcript)), "pauses", pauses(&transcript->words),
                     "utterances", (int)transcript->utterances, "engine", transcript->engine, "degraded",
                     transcript->degraded ? json_true() : NULL, "ignored_bytes",
                     transcript->ignored_bytes ? json_integer((json_int_t)transcript->ignored_bytes) : NULL,
                     "warnings", warnings);
}
