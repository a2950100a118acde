"""medseg.studies"""
